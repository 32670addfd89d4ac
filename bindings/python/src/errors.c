#include <stdarg.h>
#include <string.h>

#include "module.h"

typedef struct {
  int status;
  const char *name;
  PyObject **builtin; /* the other base class; null: none */
  const char *doc;
} Kind;

/* A class for each status that can be raised; each has its number as `code`. */
int errors_init(State *state, PyObject *module) {
  const Kind kinds[] = {
      {HOSTMAP_ALREADY_EXISTS, "AlreadyExists", NULL, "The key is present."},
      {HOSTMAP_MISMATCH, "Mismatch", NULL, "The value is not the expected one."},
      {HOSTMAP_NOT_A_NUMBER, "NotANumber", &PyExc_TypeError, "The value is not a decimal number."},
      {HOSTMAP_OVERFLOW, "Overflow", &PyExc_OverflowError, "The number would exceed its range."},
      {HOSTMAP_BUFFER_TOO_SMALL, "BufferTooSmall", &PyExc_ValueError, "The value is longer than the buffer; `size` says how long."},
      {HOSTMAP_TIMEOUT, "Timeout", &PyExc_TimeoutError, "Time has passed; see outcome_unknown."},
      {HOSTMAP_NO_SERVER, "NoServer", &PyExc_ConnectionError, "No server runs under this name."},
      {HOSTMAP_FULL, "Full", &PyExc_MemoryError, "No memory is left, or no room for a connection."},
      {HOSTMAP_TOO_LARGE, "TooLarge", &PyExc_ValueError, "The key or the value is above its limit."},
      {HOSTMAP_INVALID, "Invalid", &PyExc_ValueError, "An argument that is never valid, or a Map that is closed."},
      {HOSTMAP_PERMISSION, "Permission", &PyExc_PermissionError, "The server belongs to somebody else, or the Map is read-only."},
      {HOSTMAP_OTHER_VERSION, "OtherVersion", &PyExc_ConnectionError, "Server and client have different layouts of memory."},
      {HOSTMAP_CLOSED, "Closed", &PyExc_ConnectionError, "The server closed the connection; see outcome_unknown."},
      {HOSTMAP_INTERNAL, "Internal", NULL, "A bug of hostmap, or damaged memory."},
  };
  PyObject *attributes = Py_BuildValue("{s:i,s:O}", "code", 0, "outcome_unknown", Py_False);
  if (attributes == NULL) return -1;
  state->error = PyErr_NewExceptionWithDoc(
      "hostmap.Error",
      "What every other exception of hostmap is, too.\n\ncode: the status's number in hostmap.h. outcome_unknown: True if a change may "
      "or may not have been applied; False: nothing was changed.",
      NULL, attributes);
  Py_DECREF(attributes);
  if (state->error == NULL || PyModule_AddObjectRef(module, "Error", state->error) < 0) return -1;

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    const Kind *kind = &kinds[i];
    char name[64];
    PyOS_snprintf(name, sizeof name, "hostmap.%s", kind->name);
    PyObject *bases = kind->builtin == NULL ? PyTuple_Pack(1, state->error) : PyTuple_Pack(2, state->error, *kind->builtin);
    attributes = Py_BuildValue("{s:i}", "code", kind->status);
    PyObject *type = bases == NULL || attributes == NULL ? NULL : PyErr_NewExceptionWithDoc(name, kind->doc, bases, attributes);
    Py_XDECREF(bases);
    Py_XDECREF(attributes);
    if (type == NULL) return -1;
    state->errors[kind->status] = type;
    if (PyModule_AddObjectRef(module, kind->name, type) < 0) return -1;
  }
  return 0;
}

static PyObject *raise_message(State *state, int status, const char *message, size_t size, bool outcome_unknown) {
  PyObject *type = status > 0 && status < kStatuses ? state->errors[status] : NULL;
  if (type == NULL) type = state->errors[HOSTMAP_INTERNAL];
  if (type == NULL) type = PyExc_RuntimeError; /* the interpreter is ending and has cleared the module */
  PyObject *text = PyUnicode_DecodeUTF8(message, (Py_ssize_t)size, "replace");
  PyObject *error = text == NULL ? NULL : PyObject_CallFunctionObjArgs(type, text, NULL);
  Py_XDECREF(text);
  if (error == NULL) return NULL;
  if (!outcome_unknown || PyObject_SetAttrString(error, "outcome_unknown", Py_True) == 0) PyErr_SetObject(type, error);
  Py_DECREF(error);
  return NULL;
}

PyObject *raise_status(State *state, int status, bool change, PyObject *key) {
  if (status == kNotCalled || PyErr_Occurred() != NULL) return NULL;
  if (status == HOSTMAP_NOT_FOUND) {
    if (key != NULL) {
      PyErr_SetObject(PyExc_KeyError, key);
    } else {
      PyErr_SetString(PyExc_KeyError, hostmap_describe(status));
    }
    return NULL;
  }
  const char *message = hostmap_message();
  char longer[1024];
  if (status == HOSTMAP_OTHER_VERSION) { /* which package that is for this client, only this module knows */
    PyOS_snprintf(longer, sizeof longer,
                  "%s (this program is the Python package hostmap %s: upgrade it by pip if its version is the lower one, or upgrade the "
                  "server; `python -m hostmap server` is the server of this package)",
                  message, hostmap_version());
    message = longer;
  }
  return raise_message(state, status, message, strlen(message),
                       change && (status == HOSTMAP_TIMEOUT || status == HOSTMAP_CLOSED));
}

static PyObject *raise_text(State *state, int status, const char *format, va_list arguments) {
  PyObject *text = PyUnicode_FromFormatV(format, arguments);
  if (text == NULL) return NULL;
  Py_ssize_t size;
  const char *message = PyUnicode_AsUTF8AndSize(text, &size);
  if (message != NULL) raise_message(state, status, message, (size_t)size, false);
  Py_DECREF(text);
  return NULL;
}

PyObject *raise_invalid(State *state, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  raise_text(state, HOSTMAP_INVALID, format, arguments);
  va_end(arguments);
  return NULL;
}

PyObject *raise_formatted(State *state, int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  raise_text(state, status, format, arguments);
  va_end(arguments);
  return NULL;
}
