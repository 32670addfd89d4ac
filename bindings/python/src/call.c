#include "module.h"

#include <pthread.h>
#include <unistd.h>

/* The library calls sleeping_hook in the thread that sleeps, so what it needs is kept for each thread. */
#define PER_THREAD static _Thread_local __attribute__((tls_model("initial-exec")))
PER_THREAD PyThreadState *released;
PER_THREAD bool handling_signals;
PER_THREAD bool interrupted; /* a handler has raised in the call that is in progress */

static void wait_for_the_end_of_the_process(void *none) {
  (void)none;
  for (;;) pause();
}

/* Once the interpreter has begun to end, Python up to 3.13 ends a thread that wants the GIL by pthread_exit. That would unwind the
 * library, which is in the middle of a call, and abort the process. So the thread sleeps here until the process ends; later versions
 * of Python do the same themselves. */
static void take_gil(void) {
  pthread_cleanup_push(wait_for_the_end_of_the_process, NULL);
  PyEval_RestoreThread(released);
  pthread_cleanup_pop(0);
  released = NULL;
}

/* The GIL is released while the library sleeps, and signals are handled when it has slept. If a handler raises (Ctrl-C does), the
 * call ends as if its time had passed, and the exception is what its caller gets (raise_status). */
int sleeping_hook(void *context, int begins) {
  (void)context;
  if (begins) {
    released = PyEval_SaveThread();
    return 0;
  }
  take_gil();
  if (PyErr_Occurred() != NULL) return -1;
  /* The library is in the middle of a call and may hold a lock of the map: a handler must not call it. */
  handling_signals = true;
  int result = PyErr_CheckSignals();
  handling_signals = false;
  if (result < 0) interrupted = true;
  return result;
}

bool call_interrupted(void) {
  if (!interrupted) return false;
  interrupted = false;
  return true;
}

bool in_signal_handler(void) {
  if (!handling_signals) return false;
  PyErr_SetString(PyExc_RuntimeError,
                  "a signal handler must not use a Map while its thread waits in a call of a Map: let the handler set a flag, or "
                  "raise an exception, which ends that call");
  return true;
}

bool call_begin(MapObject *self, int64_t *limit_before) {
  Handle *handle = self->handle;
  if (handle == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "this Map has not been made: a subclass must call Map.__init__");
    return false;
  }
  if (handle->map == NULL || handle->closing || self->closed) {
    raise_invalid(self->state, "this Map is closed: make another one by hostmap.connect()");
    return false;
  }
  if (in_signal_handler()) return false;
  ++handle->busy;
  if (self->limit_ns != 0) *limit_before = hostmap_set_limit(self->limit_ns);
  return true;
}

void call_end(MapObject *self, int64_t limit_before) {
  if (self->limit_ns != 0) hostmap_set_limit(limit_before);
  handle_call_ended(self->handle);
}
