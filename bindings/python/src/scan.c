#include "module.h"

/* The iterator of a Map, of values() and of scan(). */
typedef struct ScanObject {
  PyObject_HEAD
  MapObject *owner;
  OpenScan open;
  int kind;
} ScanObject;

static void scan_end(ScanObject *iterator) { handle_end_scan(iterator->owner->handle, &iterator->open); }

/* Within the call of the library, after which another thread may have closed the map, and has then ended its scans. */
static int begin(hostmap_map *map, ScanObject *iterator, const char *prefix, size_t size) {
  hostmap_scan *scan;
  int status = hostmap_scan_begin(map, prefix, size, iterator->kind == kScanKeys, &scan);
  if (status == HOSTMAP_OK) handle_add_scan(iterator->owner->handle, &iterator->open, scan);
  return status;
}

PyObject *scan_make(MapObject *self, PyObject *prefix, int kind) {
  PyTypeObject *type = self->state->scan_type;
  allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
  ScanObject *iterator = (ScanObject *)allocate(type, 0);
  if (iterator == NULL) return NULL;
  iterator->owner = (MapObject *)Py_NewRef((PyObject *)self);
  iterator->kind = kind;
  Key key;
  int status;
  if (prefix == NULL) {
    CALL(self, status, begin(map, iterator, self->prefix_data, self->prefix_size));
  } else if (key_from(self, prefix, &key)) {
    CALL(self, status, begin(map, iterator, key.data, key.size));
    key_end(&key);
  } else {
    status = kNotCalled;
  }
  if (status == HOSTMAP_OK) return (PyObject *)iterator;
  raise_status(self->state, status, false, NULL);
  Py_DECREF(iterator);
  return NULL;
}

static PyObject *scan_next(ScanObject *iterator) {
  MapObject *self = iterator->owner;
  if (iterator->open.process == self->state->process) {
    PyErr_SetString(PyExc_ValueError, "another thread is reading from this iterator: each thread needs one of its own");
    return NULL;
  }
  if (iterator->open.scan == NULL) {
    if (self->handle->map == NULL) raise_invalid(self->state, "this Map is closed: make another one by hostmap.connect()");
    return NULL; /* behind the last key */
  }
  if (iterator->open.process != 0) {
    return raise_invalid(self->state, "this iterator was in use when the process forked: make another one in the child");
  }
  const void *key = NULL, *value = NULL;
  size_t key_size = 0, value_size = 0;
  int64_t limit_before;
  if (!call_begin(self, &limit_before)) return NULL;
  iterator->open.process = self->state->process;
  int status = hostmap_scan_next(iterator->open.scan, &key, &key_size, &value, &value_size);
  iterator->open.process = 0;
  PyObject *key_object = NULL, *value_bytes = NULL;
  if (status == HOSTMAP_OK) { /* before call_end, which may close the map and so end the scan */
    if (iterator->kind != kScanValues) key_object = key_to(self, key, key_size);
    if (iterator->kind != kScanKeys) value_bytes = PyBytes_FromStringAndSize(value, (Py_ssize_t)value_size);
  }
  if (status == HOSTMAP_NOT_FOUND) scan_end(iterator);
  call_end(self, limit_before);
  if (call_interrupted()) {
    Py_XDECREF(key_object);
    Py_XDECREF(value_bytes);
    return NULL;
  }
  if (status == HOSTMAP_NOT_FOUND) return NULL;
  if (status != HOSTMAP_OK) return raise_status(self->state, status, false, NULL);
  if (iterator->kind == kScanKeys) return key_object;
  PyObject *value_object = value_yielded(self, value_bytes);
  if (iterator->kind == kScanValues) return value_object;
  PyObject *pair = key_object == NULL || value_object == NULL ? NULL : PyTuple_Pack(2, key_object, value_object);
  Py_XDECREF(key_object);
  Py_XDECREF(value_object);
  return pair;
}

static int scan_traverse(ScanObject *iterator, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE((PyObject *)iterator));
  Py_VISIT((PyObject *)iterator->owner);
  return 0;
}

static void scan_dealloc(ScanObject *iterator) {
  PyTypeObject *type = Py_TYPE((PyObject *)iterator);
  PyObject_GC_UnTrack(iterator);
  scan_end(iterator);
  Py_XDECREF((PyObject *)iterator->owner);
  freefunc release = PyType_GetSlot(type, Py_tp_free);
  release(iterator);
  Py_DECREF(type);
}

int scan_init_type(State *state, PyObject *module) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, scan_dealloc},       {Py_tp_traverse, scan_traverse},
      {Py_tp_iter, PyObject_SelfIter},     {Py_tp_iternext, scan_next},
      {Py_tp_doc, (void *)"An iterator over a Map."}, {0, NULL},
  };
  PyType_Spec spec = {"hostmap._hostmap.Scan", sizeof(ScanObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  state->scan_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
  return state->scan_type == NULL ? -1 : 0;
}

PyObject *map_iterate(MapObject *self) { return scan_make(self, NULL, kScanKeys); }

METHOD(map_scan) {
  static const char *const names[] = {"prefix", NULL};
  PyObject *values[1];
  if (!arguments_from("scan", arguments, count, keywords, names, 0, 1, values)) return NULL;
  return scan_make(self, values[0] == Py_None ? NULL : values[0], kScanItems);
}

PyObject *map_values_scan(MapObject *self, PyObject *none) {
  (void)none;
  return scan_make(self, NULL, kScanValues);
}
