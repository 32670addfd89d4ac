#include "module.h"

void handle_add_scan(Handle *handle, OpenScan *open, hostmap_scan *scan) {
  open->scan = scan;
  open->next = handle->scans;
  if (open->next != NULL) open->next->previous = open;
  handle->scans = open;
}

void handle_end_scan(Handle *handle, OpenScan *open) {
  if (open->scan == NULL) return;
  if (open->previous != NULL) {
    open->previous->next = open->next;
  } else {
    handle->scans = open->next;
  }
  if (open->next != NULL) open->next->previous = open->previous;
  open->next = open->previous = NULL;
  /* A child never frees what a thread that it does not have was changing. */
  if (open->process == 0) hostmap_scan_end(open->scan);
  open->scan = NULL;
}

static void end_map(Handle *handle) {
  while (handle->scans != NULL) handle_end_scan(handle, handle->scans);
  hostmap_map *map = handle->map;
  handle->map = NULL;
  hostmap_close(map);
  if (handle->previous != NULL) {
    handle->previous->next = handle->next;
  } else if (handle->state->handles == handle) {
    handle->state->handles = handle->next;
  }
  if (handle->next != NULL) handle->next->previous = handle->previous;
  handle->next = handle->previous = NULL;
}

Handle *handle_new(State *state) {
  Handle *handle = PyMem_Calloc(1, sizeof *handle);
  if (handle == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  handle->state = state;
  handle->owners = 1;
  return handle;
}

void handle_opened(Handle *handle, hostmap_map *map) {
  handle->map = map;
  handle->next = handle->state->handles;
  if (handle->next != NULL) handle->next->previous = handle;
  handle->state->handles = handle;
}

void handle_call_ended(Handle *handle) {
  if (--handle->busy <= 0 && handle->closing && handle->map != NULL) end_map(handle);
}

void handle_close(Handle *handle) {
  handle->closing = true;
  if (handle->busy <= 0 && handle->map != NULL) end_map(handle);
}

void handle_release(Handle *handle) {
  if (--handle->owners > 0) return;
  handle->busy = 0; /* each call keeps its Map, so none is in progress */
  handle_close(handle);
  PyMem_Free(handle);
}
