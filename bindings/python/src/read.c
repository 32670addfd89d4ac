#include <string.h>

#include "module.h"

/* Most values fit here, so that they are copied once from the table and once into a bytes object of their size. */
enum { kOnStack = 1024 };

/* The stored bytes; null without an exception if the key is absent. */
static PyObject *stored_bytes(MapObject *self, const Key *key, PyObject *key_object) {
  char local[kOnStack];
  size_t size = 0;
  int status;
  CALL(self, status, hostmap_get(map, key->data, key->size, local, sizeof local, &size));
  if (status == HOSTMAP_OK) return PyBytes_FromStringAndSize(local, (Py_ssize_t)size);
  while (status == HOSTMAP_BUFFER_TOO_SMALL) { /* again if the value has grown meanwhile */
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (bytes == NULL) return NULL;
    size_t room = size;
    CALL(self, status, hostmap_get(map, key->data, key->size, PyBytes_AsString(bytes), room, &size));
    if (status == HOSTMAP_OK) {
      if (size == room) return bytes;
      PyObject *shorter = PyBytes_FromStringAndSize(PyBytes_AsString(bytes), (Py_ssize_t)size);
      Py_DECREF(bytes);
      return shorter;
    }
    Py_DECREF(bytes);
  }
  return status == HOSTMAP_NOT_FOUND ? NULL : raise_status(self->state, status, false, key_object);
}

/* The value; null without an exception if the key is absent. */
static PyObject *value_of(MapObject *self, PyObject *key_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return NULL;
  PyObject *bytes = stored_bytes(self, &key, key_object);
  key_end(&key);
  return value_of_bytes(self, bytes);
}

PyObject *map_subscript(MapObject *self, PyObject *key) {
  PyObject *value = value_of(self, key);
  if (value == NULL && PyErr_Occurred() == NULL) PyErr_SetObject(PyExc_KeyError, key);
  return value;
}

METHOD(map_get) {
  PyObject *values[2] = {NULL, NULL};
  if (keywords == NULL && (count == 1 || count == 2)) {
    values[0] = arguments[0];
    if (count == 2) values[1] = arguments[1];
  } else {
    static const char *const names[] = {"key", "default", NULL};
    if (!arguments_from("get", arguments, count, keywords, names, 1, 2, values)) return NULL;
  }
  PyObject *value = value_of(self, values[0]);
  if (value != NULL || PyErr_Occurred() != NULL) return value;
  return Py_NewRef(values[1] == NULL ? Py_None : values[1]);
}

int map_contains(MapObject *self, PyObject *key_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return -1;
  int status;
  CALL(self, status, hostmap_exists(map, key.data, key.size));
  key_end(&key);
  if (status == HOSTMAP_OK) return 1;
  if (status == HOSTMAP_NOT_FOUND) return 0;
  raise_status(self->state, status, false, key_object);
  return -1;
}

METHOD(map_get_into) {
  static const char *const names[] = {"key", "buffer", NULL};
  PyObject *values[2];
  if (!arguments_from("get_into", arguments, count, keywords, names, 2, 2, values)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Py_buffer view;
  if (PyObject_GetBuffer(values[1], &view, PyBUF_WRITABLE) < 0) {
    key_end(&key);
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_BufferError)) {
      PyErr_Clear();
      PyErr_Format(PyExc_TypeError, "the buffer must be writable and contiguous, as a bytearray is, not %R",
                   (PyObject *)Py_TYPE(values[1]));
    }
    return NULL;
  }
  size_t size = 0;
  int status;
  CALL(self, status, hostmap_get(map, key.data, key.size, view.buf, (size_t)view.len, &size));
  PyBuffer_Release(&view);
  key_end(&key);
  if (status == HOSTMAP_OK) return PyLong_FromSize_t(size);
  raise_status(self->state, status, false, values[0]);
  if (status == HOSTMAP_BUFFER_TOO_SMALL && PyErr_ExceptionMatches(self->state->errors[HOSTMAP_BUFFER_TOO_SMALL])) {
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    PyObject *needed = PyLong_FromSize_t(size);
    if (needed == NULL || error == NULL || PyObject_SetAttrString(error, "size", needed) < 0) PyErr_Clear();
    Py_XDECREF(needed);
    PyErr_Restore(type, error, trace);
  }
  return NULL;
}

PyObject *map_ttl(MapObject *self, PyObject *key_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return NULL;
  int64_t ttl_ms = 0;
  int status;
  CALL(self, status, hostmap_ttl(map, key.data, key.size, &ttl_ms));
  key_end(&key);
  if (status != HOSTMAP_OK) return raise_status(self->state, status, false, key_object);
  if (ttl_ms == HOSTMAP_FOREVER) Py_RETURN_NONE;
  return PyFloat_FromDouble((double)ttl_ms / 1000);
}

/* With a prefix, the keys that have it are counted: let other threads and signals have their turn now and then. */
static Py_ssize_t count_prefix(MapObject *self) {
  hostmap_scan *scan = NULL;
  Py_ssize_t keys = 0;
  int64_t limit_before;
  if (!call_begin(self, &limit_before)) return -1; /* one call: the map stays open for the scan */
  int status = hostmap_scan_begin(self->handle->map, self->prefix_data, self->prefix_size, 1, &scan);
  while (status == HOSTMAP_OK) {
    const void *key;
    size_t size;
    status = hostmap_scan_next(scan, &key, &size, NULL, NULL);
    if (status != HOSTMAP_OK) break;
    if (++keys % 4096 == 0) {
      Py_BEGIN_ALLOW_THREADS
      Py_END_ALLOW_THREADS
      if (PyErr_CheckSignals() < 0) break;
    }
  }
  if (status != HOSTMAP_OK && status != HOSTMAP_NOT_FOUND) raise_status(self->state, status, false, NULL);
  hostmap_scan_end(scan);
  call_end(self, limit_before);
  call_interrupted(); /* the exception is set */
  return PyErr_Occurred() == NULL ? keys : -1;
}

Py_ssize_t map_length(MapObject *self) {
  if (self->prefix_size > 0) return count_prefix(self);
  uint64_t keys = 0;
  int status;
  CALL(self, status, hostmap_size(map, &keys));
  if (status == HOSTMAP_OK) return (Py_ssize_t)keys;
  raise_status(self->state, status, false, NULL);
  return -1;
}
