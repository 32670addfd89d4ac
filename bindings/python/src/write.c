#include <string.h>

#include "module.h"

/* What most writes share: one key, one value, and what becomes of the status. */

int map_assign(MapObject *self, PyObject *key_object, PyObject *value_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return -1;
  int status;
  if (value_object == NULL) {
    CALL(self, status, hostmap_erase(map, key.data, key.size));
  } else {
    Value value;
    if (!value_from(self, value_object, &value)) {
      key_end(&key);
      return -1;
    }
    CALL(self, status, hostmap_put(map, key.data, key.size, value.data, value.size));
    value_end(&value);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) return 0;
  raise_status(self->state, status, true, key_object);
  return -1;
}

typedef int (*Store)(hostmap_map *, const void *, size_t, const void *, size_t, int64_t);

/* One of the functions that store a value with a time to live; its status, kNotCalled with an exception. */
static int store(MapObject *self, Store function, PyObject *key_object, PyObject *value_object, int64_t ttl_ms) {
  Key key;
  if (!key_from(self, key_object, &key)) return kNotCalled;
  Value value;
  int status = kNotCalled;
  if (value_from(self, value_object, &value)) {
    CALL(self, status, function(map, key.data, key.size, value.data, value.size, ttl_ms));
    value_end(&value);
  }
  key_end(&key);
  return status;
}

/* The same for (key, value, ttl=None, *, keep_ttl=False). */
static int store_or_keep_ttl(MapObject *self, const char *method, Store function, PyObject *const *arguments,
                             Py_ssize_t count, PyObject *keywords, PyObject **key) {
  static const char *const names[] = {"key", "value", "ttl", "keep_ttl", NULL};
  PyObject *values[4];
  int64_t ttl_ms;
  if (!arguments_from(method, arguments, count, keywords, names, 2, 3, values) ||
      !ttl_or_keep_from(self->state, method, values[2], values[3], &ttl_ms)) {
    return kNotCalled;
  }
  *key = values[0];
  return store(self, function, values[0], values[1], ttl_ms);
}

METHOD(map_put) {
  PyObject *key = NULL;
  int status = store_or_keep_ttl(self, "put", hostmap_put_ttl, arguments, count, keywords, &key);
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, key);
}

METHOD(map_put_async) {
  PyObject *key = NULL;
  int status = store_or_keep_ttl(self, "put_async", hostmap_put_async_ttl, arguments, count, keywords, &key);
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, status != HOSTMAP_TIMEOUT, key); /* its timeout means: not queued */
}

METHOD(map_add) {
  static const char *const names[] = {"key", "value", "ttl", NULL};
  PyObject *values[3];
  int64_t ttl_ms;
  if (!arguments_from("add", arguments, count, keywords, names, 2, 3, values) ||
      !ttl_from(self->state, values[2], "ttl", HOSTMAP_FOREVER, &ttl_ms)) {
    return NULL;
  }
  int status = store(self, hostmap_insert_ttl, values[0], values[1], ttl_ms);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_ALREADY_EXISTS) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, values[0]);
}

METHOD(map_replace_existing) {
  PyObject *key = NULL;
  int status = store_or_keep_ttl(self, "replace_existing", hostmap_replace_ttl, arguments, count, keywords, &key);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_NOT_FOUND) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, key);
}

PyObject *map_flush(MapObject *self, PyObject *none) {
  (void)none;
  int status;
  CALL(self, status, hostmap_flush(map));
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, NULL);
}

METHOD(map_append) {
  static const char *const names[] = {"key", "more", NULL};
  PyObject *values[2];
  if (!arguments_from("append", arguments, count, keywords, names, 2, 2, values)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value more;
  int status = kNotCalled;
  uint64_t size = 0;
  if (bytes_from(self, values[1], &more, "what is appended")) {
    CALL(self, status, hostmap_append(map, key.data, key.size, more.data, more.size, &size));
    value_end(&more);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) return PyLong_FromUnsignedLongLong(size);
  return raise_status(self->state, status, true, values[0]);
}

static PyObject *expire(MapObject *self, PyObject *key_object, int64_t ttl_ms) {
  Key key;
  if (!key_from(self, key_object, &key)) return NULL;
  int status;
  CALL(self, status, hostmap_expire(map, key.data, key.size, ttl_ms));
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_NOT_FOUND) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, key_object);
}

METHOD(map_expire) {
  static const char *const names[] = {"key", "ttl", NULL};
  PyObject *values[2];
  int64_t ttl_ms;
  if (!arguments_from("expire", arguments, count, keywords, names, 2, 2, values) ||
      !ttl_from(self->state, values[1], "ttl", HOSTMAP_FOREVER, &ttl_ms)) {
    return NULL;
  }
  return expire(self, values[0], ttl_ms);
}

PyObject *map_persist(MapObject *self, PyObject *key) { return expire(self, key, HOSTMAP_FOREVER); }

PyObject *map_delete_prefix(MapObject *self, PyObject *prefix) {
  Key key;
  if (!key_from(self, prefix, &key)) return NULL;
  uint64_t erased = 0;
  int status;
  CALL(self, status, hostmap_erase_prefix(map, key.data, key.size, &erased));
  key_end(&key);
  if (status == HOSTMAP_OK) return PyLong_FromUnsignedLongLong(erased);
  return raise_status(self->state, status, true, NULL);
}

PyObject *map_clear(MapObject *self, PyObject *none) {
  (void)none;
  int status;
  if (self->prefix_size > 0) {
    CALL(self, status, hostmap_erase_prefix(map, self->prefix_data, self->prefix_size, NULL));
  } else {
    CALL(self, status, hostmap_clear(map));
  }
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, NULL);
}

/* ---- numbers ---- */

static bool whole_from(PyObject *object, const char *what, int64_t *number, State *state) {
  PyObject *whole = PyNumber_Index(object);
  if (whole == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return false;
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s must be int or float, not %R", what, (PyObject *)Py_TYPE(object));
    return false;
  }
  *number = PyLong_AsLongLong(whole);
  Py_DECREF(whole);
  if (PyErr_Occurred() == NULL) return true;
  PyErr_Clear();
  PyErr_Format(state->errors[HOSTMAP_OVERFLOW], "%s must fit into 64 bits, from -2**63 to 2**63 - 1", what);
  return false;
}

static bool number_from(PyObject *object, const char *what, double *number, State *state) {
  *number = PyFloat_AsDouble(object);
  if (PyErr_Occurred() == NULL) return true;
  if (PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s must be int or float, not %R", what, (PyObject *)Py_TYPE(object));
  } else if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
    PyErr_Clear();
    PyErr_Format(state->errors[HOSTMAP_OVERFLOW], "%s is beyond the range of a float", what);
  }
  return false;
}

METHOD(map_incr) {
  static const char *const names[] = {"key", "by", "initial", "ttl", NULL};
  PyObject *values[4];
  int64_t ttl_ms;
  if (!arguments_from("incr", arguments, count, keywords, names, 1, 4, values) ||
      !ttl_from(self->state, values[3], "ttl", HOSTMAP_FOREVER, &ttl_ms)) {
    return NULL;
  }
  PyObject *by = values[1], *initial = values[2];
  bool floats = (by != NULL && PyFloat_Check(by)) || (initial != NULL && PyFloat_Check(initial));
  int64_t whole_by = 1, whole_initial = 0, whole = 0;
  double float_by = 1, float_initial = 0, number = 0;
  if (floats ? (by != NULL && !number_from(by, "by", &float_by, self->state)) ||
                   (initial != NULL && !number_from(initial, "initial", &float_initial, self->state))
             : (by != NULL && !whole_from(by, "by", &whole_by, self->state)) ||
                   (initial != NULL && !whole_from(initial, "initial", &whole_initial, self->state))) {
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  int status;
  if (floats) {
    CALL(self, status, hostmap_increment_double(map, key.data, key.size, float_by, float_initial, ttl_ms, &number));
  } else {
    CALL(self, status, hostmap_increment_from(map, key.data, key.size, whole_by, whole_initial, ttl_ms, &whole));
  }
  key_end(&key);
  if (status != HOSTMAP_OK) return raise_status(self->state, status, true, values[0]);
  return floats ? PyFloat_FromDouble(number) : PyLong_FromLongLong(whole);
}
