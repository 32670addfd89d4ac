/* What the files of the extension share. The extension uses the limited API of Python 3.11 alone, so that one file serves every
 * later version.
 *
 *   module.c    the module and its state, one for each interpreter
 *   errors.c    the exceptions, and which status becomes which
 *   handle.c    connections: their owners, their open scans, the calls in progress
 *   call.c      what surrounds every call of the library: the open map, the GIL, signals, the timeout
 *   convert.c   keys, values and times of Python, and arguments
 *   map.c       the type Map: making, closing, pickling, properties
 *   read.c write.c condition.c many.c scan.c wait.c   its methods, by subject
 */
#ifndef HOSTMAP_PYTHON_MODULE_H
#define HOSTMAP_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hostmap/hostmap.h"

enum { kStatuses = HOSTMAP_INTERNAL + 1 };

typedef struct Handle Handle;

typedef struct State {
  PyObject *errors[kStatuses]; /* by status; null where none is raised as an exception of hostmap */
  PyObject *error;             /* hostmap.Error */
  PyTypeObject *map_type;
  PyTypeObject *scan_type;
  PyTypeObject *watch_type;
  PyObject *connect; /* the function that a Map pickles as */
  Handle *handles;   /* all that are open */
  unsigned process;  /* 1 more in a child than in the process that forked it, and not 0 */
} State;

/* A scan of a connection, as a part of the iterator that reads from it. Zeroes: none. */
typedef struct OpenScan {
  hostmap_scan *scan; /* null: ended */
  unsigned process;   /* in which a thread reads from it, possibly asleep without the GIL: nobody else may use it; 0: none */
  struct OpenScan *next, *previous;
} OpenScan;

/* One connection. A Map and those that within() derives from it share it. Everything here is guarded by the GIL. */
struct Handle {
  hostmap_map *map; /* null: closed */
  State *state;
  Py_ssize_t owners; /* Maps and scans */
  Py_ssize_t busy;   /* calls in progress, which can sleep without the GIL */
  bool closing;      /* to be closed as soon as busy is 0 */
  OpenScan *scans;   /* open ones: they end before the map does */
  Handle *next, *previous;
};

typedef struct MapObject {
  PyObject_HEAD
  State *state;
  Handle *handle; /* null: not made yet */
  bool making;    /* a thread is in __init__, which can sleep without the GIL */
  bool closed;
  bool derived; /* by within(): closing it leaves the connection open */
  PyObject *codec;   /* null: values are bytes */
  PyObject *dumps;   /* of the codec */
  PyObject *loads;
  PyObject *options; /* the dict that it pickles as */
  PyObject *prefix;  /* bytes, or null */
  const char *prefix_data;
  size_t prefix_size;
  int64_t limit_ns; /* of within(); 0: the timeout of the connection */
  bool bytes_keys;
  PyObject *weak_references;
} MapObject;

/* ---- errors.c ---- */
int errors_init(State *state, PyObject *module);
/* Sets the exception of a status, with the library's sentence, and returns null. An exception that is already set stays: a signal
 * handler raised it. `change`: the call changes something, so that its outcome can be unknown. `key` is what KeyError says. */
PyObject *raise_status(State *state, int status, bool change, PyObject *key);
PyObject *raise_invalid(State *state, const char *format, ...);
/* The exception of a status that the library has not returned. */
PyObject *raise_formatted(State *state, int status, const char *format, ...);

/* ---- handle.c ---- */
Handle *handle_new(State *state);
void handle_opened(Handle *handle, hostmap_map *map);
void handle_release(Handle *handle);
void handle_close(Handle *handle);
void handle_call_ended(Handle *handle);
void handle_add_scan(Handle *handle, OpenScan *open, hostmap_scan *scan);
void handle_end_scan(Handle *handle, OpenScan *open); /* does nothing if it has ended */

/* ---- call.c ---- */
/* Before and after every call of the library. `call_begin` is false, with an exception, if the Map is closed. */
bool call_begin(MapObject *self, int64_t *limit_before);
void call_end(MapObject *self, int64_t limit_before);
int sleeping_hook(void *context, int begins);
bool in_signal_handler(void); /* with an exception, if it is true */

/* True once after a signal handler has raised in the call: the status does not matter then. */
bool call_interrupted(void);

/* Runs `expression`, a call of the library on `map`, between call_begin and call_end. The status is kNotCalled if an exception is
 * set: the Map is closed, or a signal handler has raised. There can be results nevertheless, so they are freed. */
#define CALL(self, status, expression)                   \
  do {                                                   \
    int64_t limit_before_ = 0;                           \
    (status) = kNotCalled;                               \
    if (call_begin(self, &limit_before_)) {              \
      hostmap_map *map = (self)->handle->map;            \
      (status) = (expression);                           \
      call_end(self, limit_before_);                     \
      if (call_interrupted()) (status) = kNotCalled;     \
    }                                                    \
  } while (0)
/* No status of the library: an exception is set. */
enum { kNotCalled = -1 };

/* ---- convert.c ---- */
typedef struct Key {
  const char *data;
  size_t size;
  PyObject *owner;
  char *heap;
  char local[512];
} Key;
bool key_from(MapObject *self, PyObject *object, Key *key);
void key_end(Key *key);
/* The key as Python sees it: without the prefix, str or bytes. */
PyObject *key_to(MapObject *self, const char *data, size_t size);

typedef struct Value {
  const char *data;
  size_t size;
  PyObject *owner; /* what the codec made */
  Py_buffer view;
  bool viewed;
} Value;
bool value_from(MapObject *self, PyObject *object, Value *value);
bool bytes_from(MapObject *self, PyObject *object, Value *value, const char *what); /* without the codec */
void value_end(Value *value);
PyObject *value_to(MapObject *self, const char *data, size_t size);
PyObject *value_of_bytes(MapObject *self, PyObject *bytes); /* steals `bytes` */
/* The same for what the library allocated, which this frees. */
PyObject *value_taken(MapObject *self, void *data, size_t size);
/* The same for an iterator: a StopIteration of the codec, which would end it, becomes a RuntimeError, as in a generator. */
PyObject *value_yielded(MapObject *self, PyObject *bytes);

/* Seconds to milliseconds, rounded up. None, or null: `none`. */
bool ttl_from(State *state, PyObject *object, const char *what, int64_t none, int64_t *ttl_ms);
/* The arguments ttl=None and keep_ttl=False of a method that stores a value, of which one may be given. Null: not given. */
bool ttl_or_keep_from(State *state, const char *method, PyObject *ttl, PyObject *keep_ttl, int64_t *ttl_ms);
/* Seconds to nanoseconds, 0 or more. None: -1, which is not a bound; null: `missing`. */
bool nanoseconds_from(State *state, PyObject *object, const char *what, int64_t missing, int64_t *nanoseconds);

/* The arguments of a METH_FASTCALL | METH_KEYWORDS method, by position or by name, into `values` (null: not given). `names` ends
 * with null; the first `required` of them must be given, and those from `keyword_only` on by name. */
bool arguments_from(const char *method, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords,
                    const char *const *names, int required, int keyword_only, PyObject **values);

/* ---- the types and their methods ---- */
#define METHOD(name) PyObject *name(MapObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)

int map_init_type(State *state, PyObject *module);
int scan_init_type(State *state, PyObject *module);
int watch_init_type(State *state, PyObject *module);
PyObject *module_connect(PyObject *module, PyObject *arguments);

/* read.c */
PyObject *map_subscript(MapObject *self, PyObject *key);
int map_contains(MapObject *self, PyObject *key);
Py_ssize_t map_length(MapObject *self);
METHOD(map_get);
METHOD(map_get_into);
PyObject *map_ttl(MapObject *self, PyObject *key);
/* write.c */
int map_assign(MapObject *self, PyObject *key, PyObject *value);
METHOD(map_put);
METHOD(map_put_async);
PyObject *map_flush(MapObject *self, PyObject *none);
METHOD(map_add);
METHOD(map_replace_existing);
METHOD(map_append);
METHOD(map_expire);
PyObject *map_persist(MapObject *self, PyObject *key);
PyObject *map_delete_prefix(MapObject *self, PyObject *prefix);
PyObject *map_clear(MapObject *self, PyObject *none);
METHOD(map_incr);
/* condition.c */
METHOD(map_replace);
METHOD(map_delete_if);
METHOD(map_exchange);
METHOD(map_pop);
PyObject *map_popitem(MapObject *self, PyObject *none);
METHOD(map_setdefault);
METHOD(map_modify);
/* many.c */
PyObject *map_get_many(MapObject *self, PyObject *keys);
METHOD(map_put_many);
PyObject *map_delete_many(MapObject *self, PyObject *keys);
PyObject *map_update(MapObject *self, PyObject *arguments, PyObject *keywords);
/* scan.c */
enum { kScanKeys, kScanValues, kScanItems };
PyObject *scan_make(MapObject *self, PyObject *prefix, int kind);
PyObject *map_iterate(MapObject *self);
METHOD(map_scan);
PyObject *map_values_scan(MapObject *self, PyObject *none);
/* wait.c */
METHOD(map_wait);
PyObject *map_watch(MapObject *self, PyObject *key);
METHOD(map_lease);
METHOD(map_release);
METHOD(map_compute_begin);
METHOD(map_compute_put);
METHOD(map_compute_fail);

#endif
