#include <string.h>

#include "module.h"

/* The keys of an iterable, as the library takes them. `objects` keeps them alive. */
typedef struct {
  PyObject *objects; /* a list */
  size_t count;
  hostmap_bytes *bytes;
  Key *composed; /* null if the keys are used as they are: there is no prefix, and all are UTF-8 */
} Keys;

static void keys_end(Keys *keys) {
  for (size_t i = 0; keys->composed != NULL && i < keys->count; ++i) key_end(&keys->composed[i]);
  PyMem_Free(keys->composed);
  PyMem_Free(keys->bytes);
  Py_XDECREF(keys->objects);
}

/* Keys that need no memory of their own: false, without an exception, if one does. */
static bool plain_keys(MapObject *self, Keys *keys, Py_ssize_t count) {
  if (self->prefix_size > 0 || self->bytes_keys) return false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject *object = PyList_GetItem(keys->objects, i);
    Py_ssize_t size;
    const char *data = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
    if (data == NULL) {
      PyErr_Clear();
      return false;
    }
    keys->bytes[i] = (hostmap_bytes){data, (size_t)size};
  }
  keys->count = (size_t)count;
  return true;
}

static bool keys_from(MapObject *self, PyObject *iterable, Keys *keys) {
  memset(keys, 0, sizeof *keys);
  if (PyUnicode_Check(iterable) || PyBytes_Check(iterable)) { /* each character of a key would be one */
    PyErr_Format(PyExc_TypeError, "the keys must be several, as in a list, not one %R", (PyObject *)Py_TYPE(iterable));
    return false;
  }
  if (PyList_Check(iterable)) { /* strings that lie far from each other are fetched from memory together, too */
    for (Py_ssize_t i = 0; i < PyList_Size(iterable); ++i) {
      const char *object = (const char *)PyList_GetItem(iterable, i);
      __builtin_prefetch(object, 1);
      __builtin_prefetch(object + 64);
    }
  }
  keys->objects = PySequence_List(iterable);
  if (keys->objects == NULL) return false;
  Py_ssize_t count = PyList_Size(keys->objects);
  keys->bytes = PyMem_Malloc((size_t)count * sizeof *keys->bytes + 1);
  if (keys->bytes != NULL && plain_keys(self, keys, count)) return true;
  keys->composed = keys->bytes == NULL ? NULL : PyMem_Malloc((size_t)count * sizeof *keys->composed + 1);
  if (keys->composed == NULL) {
    PyErr_NoMemory();
    keys_end(keys);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    Key *key = &keys->composed[i];
    if (!key_from(self, PyList_GetItem(keys->objects, i), key)) {
      keys_end(keys);
      return false;
    }
    keys->bytes[i] = (hostmap_bytes){key->data, key->size};
    ++keys->count;
  }
  return true;
}

PyObject *map_get_many(MapObject *self, PyObject *iterable) {
  Keys keys;
  if (!keys_from(self, iterable, &keys)) return NULL;
  hostmap_value *values = PyMem_Malloc(keys.count * sizeof *values + 1);
  size_t room = keys.count * 256, used = 0;
  char *buffer = PyMem_Malloc(room + 1);
  int status = kNotCalled;
  while (values != NULL && buffer != NULL) {
    CALL(self, status, hostmap_multi_get(map, keys.bytes, keys.count, values, buffer, room, &used));
    if (status != HOSTMAP_BUFFER_TOO_SMALL) break;
    room = used + used / 8; /* some may grow meanwhile */
    PyMem_Free(buffer);
    buffer = PyMem_Malloc(room + 1);
  }
  PyObject *result = NULL;
  if (values == NULL || buffer == NULL) {
    PyErr_NoMemory();
  } else if (status != HOSTMAP_OK) {
    raise_status(self->state, status, false, NULL);
  } else if ((result = PyDict_New()) != NULL) {
    for (size_t i = 0; i < keys.count; ++i) {
      if (values[i].status != HOSTMAP_OK) continue;
      PyObject *value = value_to(self, buffer + values[i].offset, values[i].size);
      if (value == NULL || PyDict_SetItem(result, PyList_GetItem(keys.objects, (Py_ssize_t)i), value) < 0) Py_CLEAR(result);
      Py_XDECREF(value);
      if (result == NULL) break;
    }
  }
  PyMem_Free(values);
  PyMem_Free(buffer);
  keys_end(&keys);
  return result;
}

PyObject *map_delete_many(MapObject *self, PyObject *iterable) {
  Keys keys;
  if (!keys_from(self, iterable, &keys)) return NULL;
  int32_t *statuses = PyMem_Malloc(keys.count * sizeof *statuses + 1);
  int status = kNotCalled;
  if (statuses == NULL) {
    PyErr_NoMemory();
  } else {
    CALL(self, status, hostmap_multi_erase(map, keys.bytes, keys.count, statuses));
  }
  Py_ssize_t erased = 0;
  for (size_t i = 0; status == HOSTMAP_OK && i < keys.count; ++i) erased += statuses[i] == HOSTMAP_OK;
  PyMem_Free(statuses);
  keys_end(&keys);
  if (status == HOSTMAP_OK) return PyLong_FromSsize_t(erased);
  return raise_status(self->state, status, true, NULL);
}

/* A list of pairs: of the items of a mapping, or of the iterable itself. */
static PyObject *pairs_of(PyObject *items) {
  PyObject *source;
  if (PyDict_Check(items)) {
    source = PyDict_Items(items);
  } else if (PyObject_HasAttrString(items, "keys") && PyObject_HasAttrString(items, "items")) {
    source = PyObject_CallMethod(items, "items", NULL);
  } else {
    source = Py_NewRef(items);
  }
  PyObject *list = source == NULL ? NULL : PySequence_List(source);
  Py_XDECREF(source);
  return list;
}

METHOD(map_put_many) {
  static const char *const names[] = {"items", "ttl", "keep_ttl", NULL};
  PyObject *values[3];
  int64_t ttl_ms;
  if (!arguments_from("put_many", arguments, count, keywords, names, 1, 2, values) ||
      !ttl_or_keep_from(self->state, "put_many", values[1], values[2], &ttl_ms)) {
    return NULL;
  }
  PyObject *list = pairs_of(values[0]);
  if (list == NULL) return NULL;
  size_t total = (size_t)PyList_Size(list), ready = 0;
  PyObject **owned = PyMem_Calloc(total + 1, sizeof *owned); /* each pair as a tuple, which keeps key and value */
  Key *keys = PyMem_Malloc(total * sizeof *keys + 1);
  Value *contents = PyMem_Malloc(total * sizeof *contents + 1);
  hostmap_pair *pairs = PyMem_Malloc(total * sizeof *pairs + 1);
  int32_t *statuses = PyMem_Malloc(total * sizeof *statuses + 1);
  int status = kNotCalled;
  if (owned == NULL || keys == NULL || contents == NULL || pairs == NULL || statuses == NULL) {
    PyErr_NoMemory();
  } else {
    for (; ready < total; ++ready) {
      PyObject *pair = PySequence_Tuple(PyList_GetItem(list, (Py_ssize_t)ready));
      owned[ready] = pair;
      if (pair == NULL || PyTuple_Size(pair) != 2) {
        if (pair != NULL || PyErr_ExceptionMatches(PyExc_TypeError)) {
          PyErr_Clear();
          PyErr_Format(PyExc_TypeError, "put_many() needs a mapping or pairs of key and value; item %zu is not a pair", ready);
        }
        break;
      }
      if (!key_from(self, PyTuple_GetItem(pair, 0), &keys[ready])) break;
      if (!value_from(self, PyTuple_GetItem(pair, 1), &contents[ready])) {
        key_end(&keys[ready]);
        break;
      }
      pairs[ready] = (hostmap_pair){{keys[ready].data, keys[ready].size}, {contents[ready].data, contents[ready].size}};
    }
    if (ready == total) CALL(self, status, hostmap_multi_put_ttl(map, pairs, total, ttl_ms, statuses));
  }
  for (size_t i = 0; i < ready; ++i) {
    key_end(&keys[i]);
    value_end(&contents[i]);
  }
  for (size_t i = 0; owned != NULL && i < total; ++i) Py_XDECREF(owned[i]);
  PyMem_Free(owned);
  PyMem_Free(keys);
  PyMem_Free(contents);
  PyMem_Free(pairs);
  PyMem_Free(statuses);
  Py_DECREF(list);
  if (status == HOSTMAP_OK) Py_RETURN_NONE;
  return raise_status(self->state, status, true, NULL);
}

/* As dict.update: a mapping has keys(), all else is pairs; each key by an ordinary assignment, so that a subclass sees it. */
static bool update_from(MapObject *self, PyObject *other) {
  bool mapping = PyObject_HasAttrString(other, "keys");
  PyObject *source = mapping ? PyObject_CallMethod(other, "keys", NULL) : Py_NewRef(other);
  PyObject *iterator = source == NULL ? NULL : PyObject_GetIter(source);
  Py_XDECREF(source);
  if (iterator == NULL) return false;
  PyObject *item;
  while ((item = PyIter_Next(iterator)) != NULL) {
    PyObject *key = NULL, *value = NULL;
    if (mapping) {
      key = Py_NewRef(item);
      value = PyObject_GetItem(other, item);
    } else {
      PyObject *pair = PySequence_Tuple(item);
      if (pair != NULL && PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_ValueError, "update() needs a mapping or pairs of key and value");
      } else if (pair != NULL) {
        key = Py_NewRef(PyTuple_GetItem(pair, 0));
        value = Py_NewRef(PyTuple_GetItem(pair, 1));
      }
      Py_XDECREF(pair);
    }
    int result = key == NULL || value == NULL ? -1 : PyObject_SetItem((PyObject *)self, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    Py_DECREF(item);
    if (result < 0) break;
  }
  Py_DECREF(iterator);
  return PyErr_Occurred() == NULL;
}

PyObject *map_update(MapObject *self, PyObject *arguments, PyObject *keywords) {
  Py_ssize_t count = PyTuple_Size(arguments);
  if (count > 1) {
    PyErr_Format(PyExc_TypeError, "update() takes at most 1 positional argument, but %zd were given", count);
    return NULL;
  }
  if (count == 1 && !update_from(self, PyTuple_GetItem(arguments, 0))) return NULL;
  if (keywords != NULL && !update_from(self, keywords)) return NULL;
  Py_RETURN_NONE;
}
