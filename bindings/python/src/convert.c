#include <math.h>
#include <string.h>

#include "module.h"

/* ---- keys ---- */

static bool key_bytes(MapObject *self, PyObject *object, Key *key) {
  key->owner = NULL;
  key->heap = NULL;
  Py_ssize_t size;
  if (self->bytes_keys) {
    if (!PyBytes_Check(object)) {
      PyErr_Format(PyExc_TypeError, "a key of this Map must be bytes, not %R (a Map with encoding='utf-8' takes str)",
                   (PyObject *)Py_TYPE(object));
      return false;
    }
    key->data = PyBytes_AsString(object);
    key->size = (size_t)PyBytes_Size(object);
    return true;
  }
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "a key of this Map must be str, not %R (a Map with encoding=None takes bytes)",
                 (PyObject *)Py_TYPE(object));
    return false;
  }
  key->data = PyUnicode_AsUTF8AndSize(object, &size);
  if (key->data == NULL) {
    /* Keys that other programs wrote need not be UTF-8: iteration yields them with escapes, which mean the same bytes here. */
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return false;
    PyErr_Clear();
    key->owner = PyUnicode_AsEncodedString(object, "utf-8", "surrogateescape");
    if (key->owner == NULL) return false;
    key->data = PyBytes_AsString(key->owner);
    size = PyBytes_Size(key->owner);
  }
  key->size = (size_t)size;
  return true;
}

bool key_from(MapObject *self, PyObject *object, Key *key) {
  if (!key_bytes(self, object, key)) return false;
  if (self->prefix_size == 0) return true;
  size_t size = self->prefix_size + key->size;
  char *whole = key->local;
  if (size > sizeof key->local) {
    whole = key->heap = PyMem_Malloc(size);
    if (whole == NULL) {
      Py_CLEAR(key->owner);
      PyErr_NoMemory();
      return false;
    }
  }
  memcpy(whole, self->prefix_data, self->prefix_size);
  memcpy(whole + self->prefix_size, key->data, key->size);
  key->data = whole;
  key->size = size;
  return true;
}

void key_end(Key *key) {
  Py_XDECREF(key->owner);
  if (key->heap != NULL) PyMem_Free(key->heap);
}

PyObject *key_to(MapObject *self, const char *data, size_t size) {
  data += self->prefix_size;
  size -= self->prefix_size;
  if (self->bytes_keys) return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
  return PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, "surrogateescape");
}

/* ---- values ---- */

bool bytes_from(MapObject *self, PyObject *object, Value *value, const char *what) {
  (void)self;
  value->owner = NULL;
  value->viewed = false;
  if (PyBytes_Check(object)) {
    value->data = PyBytes_AsString(object);
    value->size = (size_t)PyBytes_Size(object);
    return true;
  }
  if (PyObject_GetBuffer(object, &value->view, PyBUF_SIMPLE) < 0) {
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
      PyErr_Clear();
      PyErr_Format(PyExc_TypeError, "%s must be bytes or another object with a buffer, not %R (for other values, give the Map a codec)",
                   what, (PyObject *)Py_TYPE(object));
    }
    return false;
  }
  value->viewed = true;
  value->data = value->view.buf;
  value->size = (size_t)value->view.len;
  return true;
}

bool value_from(MapObject *self, PyObject *object, Value *value) {
  if (self->dumps == NULL) return bytes_from(self, object, value, "a value of this Map");
  PyObject *dumped = PyObject_CallFunctionObjArgs(self->dumps, object, NULL);
  if (dumped == NULL) return false;
  if (!bytes_from(self, dumped, value, "what dumps() of the codec returns")) {
    Py_DECREF(dumped);
    return false;
  }
  value->owner = dumped;
  return true;
}

void value_end(Value *value) {
  if (value->viewed) PyBuffer_Release(&value->view);
  Py_XDECREF(value->owner);
}

PyObject *value_of_bytes(MapObject *self, PyObject *bytes) {
  if (bytes == NULL || self->loads == NULL) return bytes;
  PyObject *value = PyObject_CallFunctionObjArgs(self->loads, bytes, NULL);
  Py_DECREF(bytes);
  return value;
}

PyObject *value_yielded(MapObject *self, PyObject *bytes) {
  PyObject *value = value_of_bytes(self, bytes);
  if (value == NULL && PyErr_ExceptionMatches(PyExc_StopIteration)) {
    PyErr_Clear();
    PyErr_SetString(PyExc_RuntimeError, "loads() of the codec raised StopIteration");
  }
  return value;
}

PyObject *value_to(MapObject *self, const char *data, size_t size) {
  return value_of_bytes(self, PyBytes_FromStringAndSize(data, (Py_ssize_t)size));
}

PyObject *value_taken(MapObject *self, void *data, size_t size) {
  PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
  hostmap_free(data);
  return value_of_bytes(self, bytes);
}

/* ---- times ---- */

/* An int that no double can hold counts as infinity of its sign. */
static bool seconds_from(PyObject *object, const char *what, double *seconds) {
  if (!PyFloat_Check(object) && !PyLong_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be seconds (int or float) or None, not %R", what, (PyObject *)Py_TYPE(object));
    return false;
  }
  *seconds = PyFloat_AsDouble(object);
  if (PyErr_Occurred() == NULL) return true;
  if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return false;
  PyErr_Clear();
  PyObject *zero = PyLong_FromLong(0);
  int negative = zero == NULL ? -1 : PyObject_RichCompareBool(object, zero, Py_LT);
  Py_XDECREF(zero);
  *seconds = negative == 1 ? -HUGE_VAL : HUGE_VAL;
  return negative >= 0;
}

bool ttl_from(State *state, PyObject *object, const char *what, int64_t none, int64_t *ttl_ms) {
  *ttl_ms = none;
  if (object == NULL || object == Py_None) return true;
  double seconds;
  if (!seconds_from(object, what, &seconds)) return false;
  if (!(seconds > 0)) {
    raise_invalid(state, "%s must be above 0 seconds, not %R (None: without end)", what, object);
    return false;
  }
  if (seconds >= 9e12) { /* 285,000 years; also infinity */
    raise_invalid(state, "%s of so many seconds is too long, 9e12 or more (None: without end)", what);
    return false;
  }
  double milliseconds = seconds * 1000 - 1e-6; /* 1.1 * 1000 is a little more than 1100 */
  int64_t whole = (int64_t)milliseconds;
  *ttl_ms = (double)whole < milliseconds || whole == 0 ? whole + 1 : whole;
  return true;
}

bool ttl_or_keep_from(State *state, const char *method, PyObject *ttl, PyObject *keep_ttl, int64_t *ttl_ms) {
  if (!ttl_from(state, ttl, "ttl", HOSTMAP_FOREVER, ttl_ms)) return false;
  int keep = keep_ttl == NULL ? 0 : PyObject_IsTrue(keep_ttl);
  if (keep <= 0) return keep == 0;
  if (*ttl_ms != HOSTMAP_FOREVER) {
    raise_invalid(state, "%s() takes either ttl or keep_ttl, not both", method);
    return false;
  }
  *ttl_ms = HOSTMAP_KEEP_TTL;
  return true;
}

bool nanoseconds_from(State *state, PyObject *object, const char *what, int64_t missing, int64_t *nanoseconds) {
  *nanoseconds = object == NULL ? missing : -1;
  if (object == NULL || object == Py_None) return true;
  double seconds;
  if (!seconds_from(object, what, &seconds)) return false;
  if (!(seconds >= 0)) {
    raise_invalid(state, "%s must be 0 seconds or more, not %R (None: without bound)", what, object);
    return false;
  }
  if (seconds < 9e9) *nanoseconds = (int64_t)(seconds * 1e9); /* else 285 years: no bound */
  return true;
}

/* ---- arguments ---- */

bool arguments_from(const char *method, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords,
                    const char *const *names, int required, int keyword_only, PyObject **values) {
  int total = 0;
  for (; names[total] != NULL; ++total) values[total] = NULL;
  if (count > keyword_only) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments, but %zd were given", method, keyword_only, count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) values[i] = arguments[i];
  Py_ssize_t named = keywords == NULL ? 0 : PyTuple_Size(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject *name = PyTuple_GetItem(keywords, i);
    int at = 0;
    while (at < total && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) ++at;
    if (at == total) {
      PyErr_Format(PyExc_TypeError, "%s() has no argument %R", method, name);
      return false;
    }
    if (values[at] != NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got the argument %R twice", method, name);
      return false;
    }
    values[at] = arguments[count + i];
  }
  for (int i = 0; i < required; ++i) {
    if (values[i] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", method, names[i]);
      return false;
    }
  }
  return true;
}
