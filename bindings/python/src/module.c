#include "module.h"

static PyObject *close_all(PyObject *module, PyObject *none) {
  (void)none;
  State *state = PyModule_GetState(module);
  for (Handle *handle = state->handles; handle != NULL;) {
    Handle *next = handle->next;
    handle_close(handle);
    handle = next;
  }
  Py_RETURN_NONE;
}

static PyObject *after_fork(PyObject *module, PyObject *none) {
  (void)none;
  State *state = PyModule_GetState(module);
  ++state->process;
  for (Handle *handle = state->handles; handle != NULL; handle = handle->next) handle->busy = 0;
  Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"_connect", module_connect, METH_VARARGS, "What a Map pickles as."},
    {"_close_all", close_all, METH_NOARGS, "Closes every Map of this process."},
    {"_after_fork", after_fork, METH_NOARGS, "In a child: forgets the calls of threads that it does not have."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
  State *state = PyModule_GetState(module);
  state->process = 1;
  if (errors_init(state, module) < 0 || map_init_type(state, module) < 0 || scan_init_type(state, module) < 0 ||
      watch_init_type(state, module) < 0) {
    return -1;
  }
  state->connect = PyObject_GetAttrString(module, "_connect");
  if (state->connect == NULL) return -1;
  if (PyModule_AddStringConstant(module, "__version__", hostmap_version()) < 0 ||
      PyModule_AddIntConstant(module, "layout", (long)hostmap_layout()) < 0 ||
      PyModule_AddStringConstant(module, "commit", hostmap_commit()) < 0) {
    return -1;
  }
  return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  State *state = PyModule_GetState(module);
  for (int i = 0; i < kStatuses; ++i) Py_VISIT(state->errors[i]);
  Py_VISIT(state->error);
  Py_VISIT(state->map_type);
  Py_VISIT(state->scan_type);
  Py_VISIT(state->watch_type);
  Py_VISIT(state->connect);
  return 0;
}

static int module_clear(PyObject *module) {
  State *state = PyModule_GetState(module);
  for (int i = 0; i < kStatuses; ++i) Py_CLEAR(state->errors[i]);
  Py_CLEAR(state->error);
  Py_CLEAR(state->map_type);
  Py_CLEAR(state->scan_type);
  Py_CLEAR(state->watch_type);
  Py_CLEAR(state->connect);
  return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "hostmap._hostmap",
    .m_doc = "The C extension of hostmap: Map and its exceptions. Import them from hostmap.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__hostmap(void) { return PyModuleDef_Init(&module_definition); }
