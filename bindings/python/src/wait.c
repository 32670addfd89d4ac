#include "module.h"

/* Waits without the codec: `known` is what the key was last seen to have. */
static int wait_for(MapObject *self, const Key *key, const void *known, size_t known_size, int64_t timeout_ns, void **value,
                    size_t *size) {
  int status;
  CALL(self, status, hostmap_wait(map, key->data, key->size, known, known_size, timeout_ns, value, size));
  return status;
}

METHOD(map_wait) {
  static const char *const names[] = {"key", "known", "timeout", NULL};
  PyObject *values[3];
  int64_t timeout_ns;
  if (!arguments_from("wait", arguments, count, keywords, names, 1, 3, values) ||
      !nanoseconds_from(self->state, values[2], "timeout", -1, &timeout_ns)) {
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  void *value = NULL;
  size_t size = 0;
  int status = kNotCalled;
  if (values[1] == NULL || values[1] == Py_None) {
    status = wait_for(self, &key, NULL, 0, timeout_ns, &value, &size);
  } else {
    Value known;
    if (value_from(self, values[1], &known)) {
      status = wait_for(self, &key, known.data == NULL ? "" : known.data, known.size, timeout_ns, &value, &size);
      value_end(&known);
    }
  }
  key_end(&key);
  if (status == HOSTMAP_OK) return value_taken(self, value, size);
  hostmap_free(value);
  if (status == HOSTMAP_NOT_FOUND) Py_RETURN_NONE;
  return raise_status(self->state, status, false, values[0]);
}

/* ---- watch ---- */

typedef struct {
  PyObject_HEAD
  MapObject *owner;
  PyObject *key;
  void *known; /* of the library; null: absent */
  size_t known_size;
  bool begun;
  unsigned process; /* in which a thread waits in it, asleep without the GIL; 0: none. A forked child may wait in it anew. */
} WatchObject;

PyObject *map_watch(MapObject *self, PyObject *key_object) {
  Key key;
  if (!key_from(self, key_object, &key)) return NULL; /* refuses a wrong type now, not at the first next() */
  key_end(&key);
  PyTypeObject *type = self->state->watch_type;
  allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
  WatchObject *watch = (WatchObject *)allocate(type, 0);
  if (watch == NULL) return NULL;
  watch->owner = (MapObject *)Py_NewRef((PyObject *)self);
  watch->key = Py_NewRef(key_object);
  return (PyObject *)watch;
}

static PyObject *watch_next(WatchObject *watch) {
  MapObject *self = watch->owner;
  if (watch->process == self->state->process) {
    PyErr_SetString(PyExc_ValueError, "another thread is waiting in this iterator: each thread needs one of its own");
    return NULL;
  }
  Key key;
  if (!key_from(self, watch->key, &key)) return NULL;
  void *value = NULL;
  size_t size = 0;
  int status;
  watch->process = self->state->process;
  if (watch->begun) {
    status = wait_for(self, &key, watch->known, watch->known_size, -1, &value, &size);
  } else {
    CALL(self, status, hostmap_get_copy(map, key.data, key.size, &value, &size));
  }
  watch->process = 0;
  key_end(&key);
  if (status != HOSTMAP_OK && status != HOSTMAP_NOT_FOUND) {
    hostmap_free(value);
    return raise_status(self->state, status, false, watch->key);
  }
  hostmap_free(watch->known);
  watch->known = status == HOSTMAP_OK ? value : NULL;
  watch->known_size = status == HOSTMAP_OK ? size : 0;
  watch->begun = true;
  if (status == HOSTMAP_NOT_FOUND) Py_RETURN_NONE;
  return value_yielded(self, PyBytes_FromStringAndSize(value, (Py_ssize_t)size));
}

static int watch_traverse(WatchObject *watch, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE((PyObject *)watch));
  Py_VISIT((PyObject *)watch->owner);
  Py_VISIT(watch->key);
  return 0;
}

static void watch_dealloc(WatchObject *watch) {
  PyTypeObject *type = Py_TYPE((PyObject *)watch);
  PyObject_GC_UnTrack(watch);
  hostmap_free(watch->known);
  Py_XDECREF((PyObject *)watch->owner);
  Py_XDECREF(watch->key);
  freefunc release = PyType_GetSlot(type, Py_tp_free);
  release(watch);
  Py_DECREF(type);
}

int watch_init_type(State *state, PyObject *module) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, watch_dealloc},      {Py_tp_traverse, watch_traverse},
      {Py_tp_iter, PyObject_SelfIter},     {Py_tp_iternext, watch_next},
      {Py_tp_doc, (void *)"An iterator over the values that a key gets."}, {0, NULL},
  };
  PyType_Spec spec = {"hostmap._hostmap.Watch", sizeof(WatchObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  state->watch_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
  return state->watch_type == NULL ? -1 : 0;
}

/* ---- leases ---- */

static bool number_of(PyObject *object, uint64_t *number) {
  if (!PyLong_Check(object)) {
    PyErr_Format(PyExc_TypeError, "number must be the int that lease() or compute_begin() returned, not %R",
                 (PyObject *)Py_TYPE(object));
    return false;
  }
  *number = PyLong_AsUnsignedLongLong(object);
  if (PyErr_Occurred() == NULL) return true;
  PyErr_Clear();
  PyErr_Format(PyExc_ValueError, "number must be the int that lease() or compute_begin() returned, not %R", object);
  return false;
}

static bool length_from(MapObject *self, PyObject *object, const char *what, int64_t *length_ms) {
  if (object == Py_None) {
    PyErr_Format(PyExc_TypeError, "%s must be seconds (int or float), not None", what);
    return false;
  }
  return ttl_from(self->state, object, what, 0, length_ms);
}

METHOD(map_lease) {
  static const char *const names[] = {"key", "length", "wait", NULL};
  PyObject *values[3];
  int64_t length_ms, patience_ns;
  if (!arguments_from("lease", arguments, count, keywords, names, 2, 3, values) ||
      !length_from(self, values[1], "length", &length_ms) || !nanoseconds_from(self->state, values[2], "wait", 0, &patience_ns)) {
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  uint64_t number = 0;
  int status;
  CALL(self, status, hostmap_lease(map, key.data, key.size, length_ms, patience_ns, &number));
  /* Nobody would release it. Its map has just answered, so this does not sleep; if it must, the lease ends after its length. */
  if (status == kNotCalled && number != 0) hostmap_release(self->handle->map, key.data, key.size, number);
  key_end(&key);
  if (status == HOSTMAP_OK) return PyLong_FromUnsignedLongLong(number);
  if (status == HOSTMAP_ALREADY_EXISTS) Py_RETURN_NONE;
  return raise_status(self->state, status, true, values[0]);
}

METHOD(map_release) {
  static const char *const names[] = {"key", "number", NULL};
  PyObject *values[2];
  uint64_t number;
  if (!arguments_from("release", arguments, count, keywords, names, 2, 2, values) || !number_of(values[1], &number)) return NULL;
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  int status;
  CALL(self, status, hostmap_release(map, key.data, key.size, number));
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_TRUE;
  if (status == HOSTMAP_NOT_FOUND) Py_RETURN_FALSE;
  return raise_status(self->state, status, true, values[0]);
}

/* ---- one computation for all ---- */

METHOD(map_compute_begin) {
  static const char *const names[] = {"key", "lease", NULL};
  PyObject *values[2];
  int64_t lease_ms;
  if (!arguments_from("compute_begin", arguments, count, keywords, names, 2, 2, values) ||
      !length_from(self, values[1], "lease", &lease_ms)) {
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  void *data = NULL;
  size_t size = 0;
  uint64_t number = 0;
  int status;
  CALL(self, status, hostmap_compute_begin(map, key.data, key.size, lease_ms, &data, &size, &number));
  if (status == kNotCalled && number != 0) { /* nobody would compute it */
    hostmap_compute_fail(self->handle->map, key.data, key.size, HOSTMAP_TIMEOUT, number);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) {
    PyObject *value = value_taken(self, data, size);
    return value == NULL ? NULL : Py_BuildValue("(Ni)", value, 0);
  }
  hostmap_free(data);
  if (status == HOSTMAP_NOT_FOUND && number != 0) return Py_BuildValue("(OK)", Py_None, (unsigned long long)number);
  return raise_status(self->state, status, false, values[0]);
}

METHOD(map_compute_put) {
  static const char *const names[] = {"key", "value", "number", "ttl", NULL};
  PyObject *values[4];
  uint64_t number;
  int64_t ttl_ms;
  if (!arguments_from("compute_put", arguments, count, keywords, names, 3, 4, values) || !number_of(values[2], &number) ||
      !ttl_from(self->state, values[3], "ttl", HOSTMAP_FOREVER, &ttl_ms)) {
    return NULL;
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  Value value;
  int status = kNotCalled;
  if (value_from(self, values[1], &value)) {
    CALL(self, status, hostmap_compute_put(map, key.data, key.size, value.data, value.size, ttl_ms, number));
    value_end(&value);
  }
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, values[0]);
}

METHOD(map_compute_fail) {
  static const char *const names[] = {"key", "number", "code", NULL};
  PyObject *values[3];
  uint64_t number;
  if (!arguments_from("compute_fail", arguments, count, keywords, names, 2, 3, values) || !number_of(values[1], &number)) return NULL;
  int overflow; /* gives -1 */
  long code = values[2] == NULL ? HOSTMAP_INTERNAL : PyLong_AsLongAndOverflow(values[2], &overflow);
  if (PyErr_Occurred() != NULL) return NULL;
  if (code <= HOSTMAP_OK || code >= kStatuses) {
    return raise_invalid(self->state, "code must be one of the numbers of hostmap.h, from 1 to %d", kStatuses - 1);
  }
  Key key;
  if (!key_from(self, values[0], &key)) return NULL;
  int status;
  CALL(self, status, hostmap_compute_fail(map, key.data, key.size, (int)code, number));
  key_end(&key);
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, values[0]);
}
