/* Sessions of a web service that all its workers share: each has a value and ends a while after its last use.

     hostmap-server --background
     sessions [NAME]          NAME: of the server's instance */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hostmap/hostmap.h>

#define LIFETIME_MS (30 * 60 * 1000)
#define SESSIONS 1000
#define KEY_SIZE 32

static int fail(void) {
  fprintf(stderr, "sessions: %s\n", hostmap_message());
  return 1;
}

static size_t key_of(int user, char key[KEY_SIZE]) { return (size_t)sprintf(key, "session:%d", user); }

/* Queued: the login does not wait for the map. */
static int begin_session(hostmap_map *map, int user, const char *data) {
  char key[KEY_SIZE];
  size_t size = key_of(user, key);
  return hostmap_put_async_ttl(map, key, size, data, strlen(data), LIFETIME_MS);
}

/* Each use of a session lets it live for its whole time again. */
static int use_session(hostmap_map *map, int user, char *data, size_t room, size_t *data_size) {
  char key[KEY_SIZE];
  size_t size = key_of(user, key);
  int status = hostmap_get(map, key, size, data, room, data_size);
  if (status != HOSTMAP_OK) return status;
  return hostmap_expire_async(map, key, size, LIFETIME_MS);
}

/* How many sessions there are; below 0: an error. */
static long count_sessions(hostmap_map *map) {
  hostmap_scan *scan;
  const void *key;
  size_t size;
  long count = 0;
  int status = hostmap_scan_begin(map, "session:", 8, 1, &scan);
  if (status != HOSTMAP_OK) return -1;
  while ((status = hostmap_scan_next(scan, &key, &size, NULL, NULL)) == HOSTMAP_OK) ++count;
  hostmap_scan_end(scan);
  return status == HOSTMAP_NOT_FOUND ? count : -1;
}

int main(int argc, char **argv) {
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  hostmap_map *map;
  char data[128];
  size_t data_size = 0;
  uint64_t ended = 0;
  long count;
  int user;

  if (argc > 1) options.name = argv[1];
  if (hostmap_connect(&options, &map) != HOSTMAP_OK) return fail();
  for (user = 0; user < SESSIONS; ++user) {
    if (begin_session(map, user, "name=ann") != HOSTMAP_OK) return fail();
  }
  /* Reports what the server has refused, such as for lack of memory. */
  if (hostmap_flush(map) != HOSTMAP_OK) return fail();
  if (use_session(map, 7, data, sizeof data, &data_size) != HOSTMAP_OK) return fail();
  printf("session 7: %.*s\n", (int)data_size, data);
  count = count_sessions(map);
  if (count < 0) return fail();
  if (hostmap_erase_prefix(map, "session:", 8, &ended) != HOSTMAP_OK) return fail();
  printf("%ld sessions, %lu ended\n", count, (unsigned long)ended);
  hostmap_close(map);
  return 0;
}
