#include "module.h"

METHOD(map_replace) {
  static const char *const names[] = {"key", "expected", "desired", NULL};
  PyObject *values[3];
  if (!arguments_from("replace", arguments, count, keywords, names, 3, 3, values)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value expected, desired;
  int status = kNotCalled;
  if (value_from(self, values[1], &expected)) {
    if (value_from(self, values[2], &desired)) {
      CALL(self, status, hostmap_compare_exchange(map, key.data, key.size, expected.data, expected.size, desired.data, desired.size));
      value_end(&desired);
    }
    value_end(&expected);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_MISMATCH || status == HOSTMAP_NOT_FOUND) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, values[0]);
}

METHOD(map_delete_if) {
  static const char *const names[] = {"key", "expected", NULL};
  PyObject *values[2];
  if (!arguments_from("delete_if", arguments, count, keywords, names, 2, 2, values)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value expected;
  int status = kNotCalled;
  if (value_from(self, values[1], &expected)) {
    CALL(self, status, hostmap_compare_erase(map, key.data, key.size, expected.data, expected.size));
    value_end(&expected);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_MISMATCH || status == HOSTMAP_NOT_FOUND) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, values[0]);
}

METHOD(map_exchange) {
  static const char *const names[] = {"key", "value", NULL};
  PyObject *values[2];
  if (!arguments_from("exchange", arguments, count, keywords, names, 2, 2, values)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value value;
  void *old = NULL;
  size_t old_size = 0;
  int status = kNotCalled;
  if (value_from(self, values[1], &value)) {
    CALL(self, status, hostmap_exchange(map, key.data, key.size, value.data, value.size, &old, &old_size));
    value_end(&value);
  }
  key_end(&key);
  if (status != HOSTMAP_OK) {
    hostmap_free(old);
    return raise_status(self->state, status, true, values[0]);
  }
  if (old == NULL) Py_RETURN_NONE;
  return value_taken(self, old, old_size);
}

/* Removes the key; its value, or null without an exception if it is absent. */
static PyObject *take(MapObject *self, PyObject *key_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return NULL;
  void *value = NULL;
  size_t size = 0;
  int status;
  CALL(self, status, hostmap_take(map, key.data, key.size, &value, &size));
  key_end(&key);
  if (status == HOSTMAP_OK) return value_taken(self, value, size);
  hostmap_free(value);
  return status == HOSTMAP_NOT_FOUND ? NULL : raise_status(self->state, status, true, key_object);
}

METHOD(map_pop) {
  static const char *const names[] = {"key", "default", NULL};
  PyObject *values[2];
  if (!arguments_from("pop", arguments, count, keywords, names, 1, 2, values)) return NULL;
  PyObject *value = take(self, values[0]);
  if (value != NULL || PyErr_Occurred() != NULL) return value;
  if (values[1] != NULL) return Py_NewRef(values[1]);
  PyErr_SetObject(PyExc_KeyError, values[0]);
  return NULL;
}

PyObject *map_popitem(MapObject *self, PyObject *none) {
  (void)none;
  for (;;) { /* until this caller gets a key that nobody else has taken */
    PyObject *keys = scan_make(self, NULL, kScanKeys);
    if (keys == NULL) return NULL;
    PyObject *key = PyIter_Next(keys);
    Py_DECREF(keys);
    if (key == NULL) {
      if (PyErr_Occurred() == NULL) PyErr_SetString(PyExc_KeyError, "popitem(): the map is empty");
      return NULL;
    }
    PyObject *value = take(self, key);
    if (value != NULL) {
      PyObject *pair = PyTuple_Pack(2, key, value);
      Py_DECREF(key);
      Py_DECREF(value);
      return pair;
    }
    Py_DECREF(key);
    if (PyErr_Occurred() != NULL || PyErr_CheckSignals() < 0) return NULL;
  }
}

METHOD(map_setdefault) {
  static const char *const names[] = {"key", "default", NULL};
  PyObject *values[2];
  if (!arguments_from("setdefault", arguments, count, keywords, names, 1, 2, values)) return NULL;
  PyObject *initial = values[1] == NULL ? Py_None : values[1];
  if (values[1] == NULL && self->codec == NULL) {
    PyErr_SetString(PyExc_TypeError, "setdefault() needs the argument 'default': None is not a value of a Map without a codec");
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value value;
  void *present = NULL;
  size_t size = 0;
  int status = kNotCalled;
  if (value_from(self, initial, &value)) {
    CALL(self, status, hostmap_insert_or_get(map, key.data, key.size, value.data, value.size, &present, &size));
    PyObject *stored = NULL;
    /* What the next caller would get: bytes of a bytearray, say. */
    if (status == HOSTMAP_OK) stored = PyBytes_Check(initial) ? Py_NewRef(initial) : value_to(self, value.data, value.size);
    value_end(&value);
    key_end(&key);
    if (status == HOSTMAP_OK) return stored;
    if (status == HOSTMAP_ALREADY_EXISTS) return value_taken(self, present, size);
    hostmap_free(present);
    return raise_status(self->state, status, true, values[0]);
  }
  key_end(&key);
  return NULL;
}

METHOD(map_modify) {
  static const char *const names[] = {"key", "function", NULL};
  PyObject *values[2];
  if (!arguments_from("modify", arguments, count, keywords, names, 2, 2, values)) return NULL;
  if (!PyCallable_Check(values[1])) {
    PyErr_Format(PyExc_TypeError, "modify() needs a function of one argument, not %R", (PyObject *)Py_TYPE(values[1]));
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  PyObject *result = NULL;
  for (;;) {
    void *data = NULL;
    size_t size = 0;
    hostmap_token token = {0, 0};
    int status;
    CALL(self, status, hostmap_get_with_token(map, key.data, key.size, &data, &size, &token));
    PyObject *old = NULL;
    if (status == HOSTMAP_OK) {
      old = value_taken(self, data, size);
    } else if (status == HOSTMAP_NOT_FOUND) {
      old = Py_NewRef(Py_None);
      token = (hostmap_token){0, 0};
    } else {
      hostmap_free(data);
      raise_status(self->state, status, false, values[0]);
    }
    if (old == NULL) break;
    PyObject *desired = PyObject_CallFunctionObjArgs(values[1], old, NULL);
    Py_DECREF(old);
    if (desired == NULL) break;
    Value value;
    if (!value_from(self, desired, &value)) {
      Py_DECREF(desired);
      break;
    }
    CALL(self, status, hostmap_put_if(map, key.data, key.size, value.data, value.size, &token));
    value_end(&value);
    if (status == HOSTMAP_OK) {
      result = desired;
      break;
    }
    Py_DECREF(desired);
    if (status != HOSTMAP_MISMATCH && status != HOSTMAP_NOT_FOUND && status != HOSTMAP_ALREADY_EXISTS) {
      raise_status(self->state, status, true, values[0]);
      break;
    }
    if (PyErr_CheckSignals() < 0) break;
  }
  key_end(&key);
  return result;
}
