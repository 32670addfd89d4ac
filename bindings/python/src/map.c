#include "module.h"

#include <structmember.h> /* needs Python.h, which module.h includes with its settings */

static const char *const kDefaultName = "distributed-memory";
enum { kMostKeyBytes = 65536 };

/* ---- making and unmaking ---- */

/* Map, or a class derived from it. The state is that of the module which made Map. */
static PyObject *map_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
  (void)arguments;
  (void)keywords;
  PyTypeObject *maker = type;
  State *state = NULL;
  while (maker != NULL && (state = PyType_GetModuleState(maker)) == NULL) {
    PyErr_Clear(); /* a class of Python has no module state */
    maker = PyType_GetSlot(maker, Py_tp_base);
  }
  if (state == NULL) {
    PyErr_SetString(PyExc_SystemError, "hostmap.Map has lost its module");
    return NULL;
  }
  allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
  MapObject *self = (MapObject *)allocate(type, 0);
  if (self != NULL) self->state = state;
  return (PyObject *)self;
}

static bool text_of(PyObject *object, const char *what, const char **text) {
  *text = NULL;
  if (object == NULL || object == Py_None) return true;
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be str or None, not %R", what, (PyObject *)Py_TYPE(object));
    return false;
  }
  Py_ssize_t size;
  *text = PyUnicode_AsUTF8AndSize(object, &size);
  if (*text == NULL) return false;
  for (Py_ssize_t i = 0; i < size; ++i) {
    if ((*text)[i] == '\0') {
      PyErr_Format(PyExc_ValueError, "%s must not contain a zero byte", what);
      return false;
    }
  }
  return true;
}

/* The codec's two functions; none: values are bytes. */
static bool set_codec(MapObject *self, PyObject *codec) {
  if (codec == Py_None) return true;
  PyObject *dumps = PyObject_GetAttrString(codec, "dumps");
  PyObject *loads = dumps == NULL ? NULL : PyObject_GetAttrString(codec, "loads");
  if (loads == NULL || !PyCallable_Check(dumps) || !PyCallable_Check(loads)) {
    Py_XDECREF(dumps);
    Py_XDECREF(loads);
    PyErr_Format(PyExc_TypeError, "a codec must have the functions dumps and loads, as those of hostmap.codecs do; %R has not", codec);
    return false;
  }
  self->codec = Py_NewRef(codec);
  self->dumps = dumps;
  self->loads = loads;
  return true;
}

static bool set_keys(MapObject *self, PyObject *encoding, PyObject *prefix) {
  self->bytes_keys = encoding == Py_None;
  if (!self->bytes_keys &&
      !(PyUnicode_Check(encoding) && PyUnicode_CompareWithASCIIString(encoding, "utf-8") == 0)) {
    raise_invalid(self->state, "encoding must be 'utf-8' (keys are str) or None (keys are bytes), not %R", encoding);
    return false;
  }
  if (prefix == Py_None) return true;
  if (self->bytes_keys ? !PyBytes_Check(prefix) : !PyUnicode_Check(prefix)) {
    PyErr_Format(PyExc_TypeError, "prefix must be of the type of the keys, %s, not %R", self->bytes_keys ? "bytes" : "str",
                 (PyObject *)Py_TYPE(prefix));
    return false;
  }
  self->prefix = self->bytes_keys ? Py_NewRef(prefix) : PyUnicode_AsEncodedString(prefix, "utf-8", "surrogateescape");
  if (self->prefix == NULL) return false;
  if (PyBytes_Size(self->prefix) > kMostKeyBytes) {
    raise_formatted(self->state, HOSTMAP_TOO_LARGE, "prefix has %zd bytes, and a key has at most %d with its prefix: give a shorter one",
                    PyBytes_Size(self->prefix), kMostKeyBytes);
    return false;
  }
  self->prefix_data = PyBytes_AsString(self->prefix);
  self->prefix_size = (size_t)PyBytes_Size(self->prefix);
  return true;
}

/* Forgets what map_init has set: the object is as map_new made it. */
static void map_reset(MapObject *self) {
  Py_CLEAR(self->codec);
  Py_CLEAR(self->dumps);
  Py_CLEAR(self->loads);
  Py_CLEAR(self->options);
  Py_CLEAR(self->prefix);
  self->prefix_data = NULL;
  self->prefix_size = 0;
  Handle *handle = self->handle;
  self->handle = NULL;
  if (handle != NULL) handle_release(handle);
}

static int map_init(MapObject *self, PyObject *arguments, PyObject *keywords) {
  static char *names[] = {"name",  "codec", "prefix",    "timeout",         "dir",
                          "group", "user",  "read_only", "wait_for_server", "encoding", NULL};
  PyObject *name = Py_None, *codec = Py_None, *prefix = Py_None, *timeout = NULL, *dir = Py_None, *group = Py_None, *user = Py_None,
           *encoding = NULL;
  int read_only = 0, wait_for_server = 0;
  if (in_signal_handler()) return -1;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O$OOOOOOppO:Map", names, &name, &codec, &prefix, &timeout, &dir, &group,
                                   &user, &read_only, &wait_for_server, &encoding)) {
    return -1;
  }
  if (self->handle != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "this Map is connected already: make another one");
    return -1;
  }
  if (self->making) {
    PyErr_SetString(PyExc_RuntimeError, "another thread connects this Map: wait until it has, or make another one");
    return -1;
  }
  self->making = true;
  map_reset(self); /* an earlier __init__ may have failed */

  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  PyObject *utf8 = PyUnicode_FromString("utf-8");
  PyObject *default_timeout = PyFloat_FromDouble(5.0);
  if (encoding == NULL) encoding = utf8;
  if (timeout == NULL) timeout = default_timeout;
  bool valid = utf8 != NULL && default_timeout != NULL && text_of(name, "name", &options.name) &&
               text_of(dir, "dir", &options.dir) && text_of(group, "group", &options.group) && text_of(user, "user", &options.user) &&
               nanoseconds_from(self->state, timeout, "timeout", -1, &options.timeout_ns) && set_keys(self, encoding, prefix) &&
               set_codec(self, codec);
  if (valid) {
    if (options.name == NULL) options.name = kDefaultName;
    if (options.timeout_ns == 0) options.timeout_ns = 1; /* 0 means the default there */
    if (read_only) options.flags |= HOSTMAP_READ_ONLY;
    if (wait_for_server) options.flags |= HOSTMAP_WAIT_FOR_SERVER;
    options.sleeping = sleeping_hook;
    self->options = Py_BuildValue("{s:s,s:O,s:O,s:O,s:O,s:O,s:O,s:O,s:O,s:O}", "name", options.name, "codec", codec, "prefix",
                                  prefix, "timeout", timeout, "dir", dir, "group", group, "user", user, "read_only",
                                  read_only ? Py_True : Py_False, "wait_for_server", wait_for_server ? Py_True : Py_False,
                                  "encoding", encoding);
    valid = self->options != NULL;
  }
  Handle *handle = valid ? handle_new(self->state) : NULL;
  if (handle != NULL) {
    hostmap_map *map = NULL;
    int status = hostmap_connect(&options, &map);
    if (call_interrupted()) {
      hostmap_close(map);
      status = kNotCalled;
    }
    if (status == HOSTMAP_OK) {
      handle_opened(handle, map);
      self->handle = handle;
      self->closed = false;
    } else {
      handle_release(handle);
      raise_status(self->state, status, false, NULL);
    }
  }
  Py_XDECREF(utf8);
  Py_XDECREF(default_timeout);
  self->making = false;
  if (self->handle != NULL) return 0;
  map_reset(self);
  return -1;
}

static int map_traverse(MapObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE((PyObject *)self));
  Py_VISIT(self->codec);
  Py_VISIT(self->dumps);
  Py_VISIT(self->loads);
  Py_VISIT(self->options);
  return 0;
}

/* The collector breaks cycles through a codec; a Map without one would give bytes where it gave objects, so it is closed, too. */
static int map_collect(MapObject *self) {
  self->closed = true;
  Py_CLEAR(self->codec);
  Py_CLEAR(self->dumps);
  Py_CLEAR(self->loads);
  Py_CLEAR(self->options);
  return 0;
}

static void map_dealloc(MapObject *self) {
  PyTypeObject *type = Py_TYPE((PyObject *)self);
  PyObject_GC_UnTrack(self);
  if (self->weak_references != NULL) PyObject_ClearWeakRefs((PyObject *)self);
  map_reset(self);
  freefunc release = PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyObject *map_close(MapObject *self, PyObject *none) {
  (void)none;
  if (in_signal_handler()) return NULL;
  self->closed = true;
  if (self->handle != NULL && !self->derived) handle_close(self->handle);
  Py_RETURN_NONE;
}

static PyObject *map_enter(MapObject *self, PyObject *none) {
  (void)none;
  return Py_NewRef((PyObject *)self);
}

static PyObject *map_exit(MapObject *self, PyObject *arguments) {
  (void)arguments;
  return map_close(self, NULL);
}

/* within(seconds): the same connection and the same options with another timeout. */
static PyObject *map_within(MapObject *self, PyObject *seconds) {
  int64_t limit_ns;
  if (!nanoseconds_from(self->state, seconds, "a timeout", 0, &limit_ns)) return NULL;
  int64_t limit_before;
  if (!call_begin(self, &limit_before)) return NULL; /* raises if it is closed */
  call_end(self, limit_before);
  PyObject *options = PyDict_Copy(self->options);
  if (options == NULL || PyDict_SetItemString(options, "timeout", seconds) < 0) {
    Py_XDECREF(options);
    return NULL;
  }
  MapObject *other = (MapObject *)map_new(Py_TYPE((PyObject *)self), NULL, NULL);
  if (other == NULL) {
    Py_DECREF(options);
    return NULL;
  }
  other->options = options;
  other->handle = self->handle;
  ++other->handle->owners;
  other->derived = true;
  other->limit_ns = limit_ns == 0 ? 1 : limit_ns; /* 0 means the timeout of the connection there */
  other->bytes_keys = self->bytes_keys;
  other->codec = Py_XNewRef(self->codec);
  other->dumps = Py_XNewRef(self->dumps);
  other->loads = Py_XNewRef(self->loads);
  other->prefix = Py_XNewRef(self->prefix);
  other->prefix_data = self->prefix_data;
  other->prefix_size = self->prefix_size;
  return (PyObject *)other;
}

/* ---- pickling, properties ---- */

PyObject *module_connect(PyObject *module, PyObject *arguments) {
  (void)module;
  PyObject *type, *options;
  if (!PyArg_ParseTuple(arguments, "OO!:_connect", &type, &PyDict_Type, &options)) return NULL;
  PyObject *none = PyTuple_New(0);
  PyObject *map = none == NULL ? NULL : PyObject_Call(type, none, options);
  Py_XDECREF(none);
  return map;
}

static PyObject *map_reduce(MapObject *self, PyObject *none) {
  (void)none;
  if (self->options == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "this Map has not been made: a subclass must call Map.__init__");
    return NULL;
  }
  return Py_BuildValue("O(OO)", self->state->connect, (PyObject *)Py_TYPE((PyObject *)self), self->options);
}

static PyObject *option(MapObject *self, const char *name) {
  PyObject *value = self->options == NULL ? NULL : PyDict_GetItemString(self->options, name);
  return Py_NewRef(value == NULL ? Py_None : value);
}

static PyObject *get_option(MapObject *self, void *name) { return option(self, name); }

static PyObject *get_options(MapObject *self, void *none) {
  (void)none;
  return self->options == NULL ? PyDict_New() : PyDict_Copy(self->options);
}

static bool is_closed(MapObject *self) { return self->closed || self->handle == NULL || self->handle->closing; }

static PyObject *get_closed(MapObject *self, void *none) {
  (void)none;
  return PyBool_FromLong(is_closed(self));
}

static PyObject *map_repr(MapObject *self) {
  PyObject *name = option(self, "name");
  PyObject *prefix = option(self, "prefix");
  PyObject *text = PyUnicode_FromFormat(prefix == Py_None ? "<hostmap.Map %R%s>" : "<hostmap.Map %R%s, prefix %R>", name,
                                        is_closed(self) ? ", closed" : "", prefix);
  Py_DECREF(name);
  Py_DECREF(prefix);
  return text;
}

/* ---- as a mapping ---- */

static PyObject *from_module(const char *module_name, const char *name) {
  PyObject *module = PyImport_ImportModule(module_name);
  PyObject *object = module == NULL ? NULL : PyObject_GetAttrString(module, name);
  Py_XDECREF(module);
  return object;
}

static PyObject *view_of(MapObject *self, const char *name) {
  PyObject *type = from_module("hostmap._views", name);
  PyObject *view = type == NULL ? NULL : PyObject_CallFunctionObjArgs(type, (PyObject *)self, NULL);
  Py_XDECREF(type);
  return view;
}

static PyObject *map_keys(MapObject *self, PyObject *none) {
  (void)none;
  return view_of(self, "Keys");
}
static PyObject *map_values(MapObject *self, PyObject *none) {
  (void)none;
  return view_of(self, "Values");
}
static PyObject *map_items(MapObject *self, PyObject *none) {
  (void)none;
  return view_of(self, "Items");
}

/* As all mappings other than dict: equal if their keys and values are. */
static PyObject *map_compare(PyObject *self, PyObject *other, int operation) {
  if (operation != Py_EQ && operation != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  if (self == other) return PyBool_FromLong(operation == Py_EQ);
  PyObject *mapping = from_module("collections.abc", "Mapping");
  int is_mapping = mapping == NULL ? -1 : PyObject_IsInstance(other, mapping);
  Py_XDECREF(mapping);
  if (is_mapping < 0) return NULL;
  if (is_mapping == 0) Py_RETURN_NOTIMPLEMENTED;
  PyObject *result = NULL;
  PyObject *mine = PyObject_CallFunctionObjArgs((PyObject *)&PyDict_Type, NULL);
  PyObject *theirs = PyObject_CallFunctionObjArgs((PyObject *)&PyDict_Type, NULL);
  PyObject *items = mine == NULL || theirs == NULL ? NULL : scan_make((MapObject *)self, NULL, kScanItems);
  if (items != NULL && PyDict_MergeFromSeq2(mine, items, 1) == 0) {
    PyObject *other_items = PyObject_CallMethod(other, "items", NULL);
    if (other_items != NULL && PyDict_MergeFromSeq2(theirs, other_items, 1) == 0) {
      result = PyObject_RichCompare(mine, theirs, operation);
    }
    Py_XDECREF(other_items);
  }
  Py_XDECREF(items);
  Py_XDECREF(mine);
  Py_XDECREF(theirs);
  return result;
}

#define FAST(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, doc}
#define ONE(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_O, doc}
#define NONE(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_NOARGS, doc}
#define ANY(name, function, flags, doc) {name, (PyCFunction)(void (*)(void))(function), flags, doc}

static PyMethodDef map_methods[] = {
    FAST("get", map_get, "get($self, key, default=None)\n--\n\nThe value of the key, or default if it is absent."),
    NONE("keys", map_keys, "A view of the keys."),
    NONE("values", map_values, "A view of the values."),
    NONE("items", map_items, "A view of the pairs of key and value."),
    NONE("_scan_values", map_values_scan, "An iterator over the values."),
    FAST("pop", map_pop, "pop(key[, default])\n\nRemoves the key and returns its value. Atomic: one caller gets it. KeyError."),
    NONE("popitem", map_popitem, "Removes some key and returns it with its value. Atomic. KeyError if the map is empty."),
    FAST("setdefault", map_setdefault,
         "setdefault($self, key, default)\n--\n\nThe value of the key; an absent key gets default first. Atomic."),
    ANY("update", map_update, METH_VARARGS | METH_KEYWORDS, "Sets all keys of a mapping or of an iterable of pairs, as a dict does."),
    NONE("clear", map_clear, "Removes every key; with a prefix, those that begin with it."),
    NONE("close", map_close, "Ends the connection; does not block. May be called twice."),
    NONE("__enter__", map_enter, "Returns the Map."),
    ANY("__exit__", map_exit, METH_VARARGS, "Closes the Map."),
    NONE("__reduce__", map_reduce, "A Map pickles as its options."),
    ONE("within", map_within, "within($self, seconds, /)\n--\n\nThe same map, on the same connection, with another timeout. None: no bound."),
    ANY("__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Map[str, bytes], for annotations."),
    FAST("put", map_put,
         "put($self, key, value, ttl=None, *, keep_ttl=False)\n--\n\nSets the key. ttl: seconds until it ends; None: it stays until it is "
         "deleted. keep_ttl: it ends when it would have."),
    FAST("put_async", map_put_async,
         "put_async($self, key, value, ttl=None, *, keep_ttl=False)\n--\n\nQueues a put; blocks only while the ring is full. What the server refuses, the next "
         "flush() raises."),
    NONE("flush", map_flush, "Blocks until all queued writes of this Map are applied, and raises their first error."),
    FAST("add", map_add, "add($self, key, value, ttl=None)\n--\n\nSets the key only if it is absent; False: it was present."),
    FAST("replace", map_replace,
         "replace($self, key, expected, desired)\n--\n\nSets the key to desired if its value equals expected, as bytes. It keeps its ttl."),
    FAST("replace_existing", map_replace_existing,
         "replace_existing($self, key, value, ttl=None, *, keep_ttl=False)\n--\n\nSets the key only if it is present; False: it was absent."),
    FAST("exchange", map_exchange,
         "exchange($self, key, value)\n--\n\nSets the key and returns the value that this replaced; None: it was absent."),
    FAST("incr", map_incr,
         "incr($self, key, by=1, initial=0, ttl=None)\n--\n\nAdds to a number stored as decimal text and returns the sum; float if by or "
         "initial is one. An absent key counts as initial, and the key then made lives for ttl. NotANumber, Overflow."),
    FAST("append", map_append, "append($self, key, more)\n--\n\nAppends bytes to the stored bytes; returns the new size."),
    FAST("expire", map_expire, "expire($self, key, ttl)\n--\n\nLets a present key end in ttl seconds; None: never. False: it is absent."),
    ONE("persist", map_persist, "persist($self, key, /)\n--\n\nThe same as expire(key, None)."),
    FAST("delete_if", map_delete_if, "delete_if($self, key, expected)\n--\n\nRemoves the key if its value equals expected, as bytes."),
    FAST("modify", map_modify,
         "modify($self, key, function)\n--\n\nSets the key to function(its value, or None) and returns that. Atomic: the function is called "
         "again if others have changed the key meanwhile."),
    ONE("get_many", map_get_many, "get_many($self, keys, /)\n--\n\nA dict of the keys that are present. Faster than single gets; no snapshot."),
    FAST("put_many", map_put_many,
         "put_many($self, items, ttl=None, *, keep_ttl=False)\n--\n\nSets all keys of a mapping or of an iterable of pairs, many at once. Raises the first "
         "error; the other keys are set."),
    ONE("delete_many", map_delete_many, "delete_many($self, keys, /)\n--\n\nRemoves the keys; returns how many were present."),
    ONE("delete_prefix", map_delete_prefix,
        "delete_prefix($self, prefix, /)\n--\n\nRemoves each key that begins with prefix; returns how many. Takes time in proportion to the whole "
        "table."),
    FAST("scan", map_scan, "scan($self, prefix=None)\n--\n\nAn iterator over the pairs of the keys that begin with prefix."),
    FAST("get_into", map_get_into,
         "get_into($self, key, buffer)\n--\n\nCopies the stored bytes into a writable buffer; returns their number. KeyError, BufferTooSmall."),
    ONE("ttl", map_ttl, "ttl($self, key, /)\n--\n\nSeconds that the key still lives; None: until it is deleted. KeyError."),
    FAST("wait", map_wait,
         "wait($self, key, known=None, timeout=None)\n--\n\nSleeps until the value of the key is not known any more (None: absent), and returns "
         "it; None: it has become absent. Timeout after `timeout` seconds (None: no bound)."),
    ONE("watch", map_watch, "watch($self, key, /)\n--\n\nAn iterator: the value of the key now (None: absent), then each other one that it gets."),
    FAST("lease", map_lease,
         "lease($self, key, length, wait=0)\n--\n\nTakes the lease of a key for `length` seconds; returns its number, for release(), or None if another "
         "holder has it. Sleeps for at most `wait` seconds (None: no bound) until it is free."),
    FAST("release", map_release, "release($self, key, number)\n--\n\nReleases a lease. False: this Map does not hold it any more."),
    FAST("compute_begin", map_compute_begin,
         "compute_begin($self, key, lease)\n--\n\n(value, 0) if the key is present; (None, number) if this caller alone is to compute it within "
         "`lease` seconds and then to call compute_put or compute_fail. Others sleep until then."),
    FAST("compute_put", map_compute_put,
         "compute_put($self, key, value, number, ttl=None)\n--\n\nStores what was computed and wakes all waiting callers. AlreadyExists."),
    FAST("compute_fail", map_compute_fail,
         "compute_fail($self, key, number, code=15)\n--\n\nEnds the computation: all waiting callers get the exception of this code."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef map_properties[] = {
    {"name", (getter)get_option, NULL, "The name of the server.", "name"},
    {"prefix", (getter)get_option, NULL, "What every key of this Map begins with in the server; None: nothing.", "prefix"},
    {"codec", (getter)get_option, NULL, "What turns values into bytes and back; None: values are bytes.", "codec"},
    {"options", (getter)get_options, NULL, "A dict: Map(**options) makes the same connection again.", NULL},
    {"closed", (getter)get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef map_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(MapObject, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static const char map_doc[] =
    "Map(name=None, *, codec=None, prefix=None, timeout=5.0, dir=None, group=None, user=None, read_only=False, "
    "wait_for_server=False, encoding='utf-8')\n--\n\n"
    "A map that all processes of this host share; a MutableMapping.\n\n"
    "Connects to the server `name`. Keys are str (bytes with encoding=None), values bytes, or what the codec takes. Every method "
    "may be called from any thread, blocks for at most `timeout` seconds, and releases the GIL only while it sleeps. A forked "
    "child connects anew at its first call.";

int map_init_type(State *state, PyObject *module) {
  PyType_Slot slots[] = {
      {Py_tp_new, map_new},
      {Py_tp_init, map_init},
      {Py_tp_dealloc, map_dealloc},
      {Py_tp_traverse, map_traverse},
      {Py_tp_clear, map_collect},
      {Py_tp_repr, map_repr},
      {Py_tp_hash, PyObject_HashNotImplemented},
      {Py_tp_richcompare, map_compare},
      {Py_tp_iter, map_iterate},
      {Py_tp_methods, map_methods},
      {Py_tp_getset, map_properties},
      {Py_tp_members, map_members},
      {Py_tp_doc, (void *)map_doc},
      {Py_mp_subscript, map_subscript},
      {Py_mp_ass_subscript, map_assign},
      {Py_mp_length, map_length},
      {Py_sq_contains, map_contains},
      {0, NULL},
  };
  PyType_Spec spec = {"hostmap.Map", sizeof(MapObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
  if (type == NULL) return -1;
  state->map_type = (PyTypeObject *)type;
  return PyModule_AddObjectRef(module, "Map", type);
}
