/* c99_program NAME: a program in strict C99 that uses the C interface on the instance NAME. Exit code 0: all was as it should be;
   otherwise the line of the failed expectation is on stderr. */
#include <hostmap/hostmap.h>
#include <stdio.h>
#include <string.h>

#define EXPECT(condition)                                                                       \
  do {                                                                                          \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: %s; %s\n", __FILE__, __LINE__, #condition, hostmap_message());    \
      return 1;                                                                                 \
    }                                                                                           \
  } while (0)

int main(int argc, char **argv) {
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  hostmap_map *map;
  hostmap_scan *scan;
  char buffer[64];
  size_t size;
  const void *key, *value;
  size_t key_size, value_size;
  int64_t number;
  hostmap_operation operations[2];
  hostmap_outcome outcomes[2];

  if (argc != 2) return 2;
  options.name = argv[1];
  EXPECT(hostmap_connect(&options, &map) == HOSTMAP_OK);
  EXPECT(hostmap_put(map, "language", 8, "C", 1) == HOSTMAP_OK);
  EXPECT(hostmap_get(map, "language", 8, buffer, sizeof buffer, &size) == HOSTMAP_OK);
  EXPECT(size == 1 && buffer[0] == 'C');
  EXPECT(hostmap_get(map, "absent", 6, buffer, sizeof buffer, &size) == HOSTMAP_NOT_FOUND);
  EXPECT(strcmp(hostmap_message(), "no such key") == 0);
  EXPECT(hostmap_increment(map, "number", 6, -17, &number) == HOSTMAP_OK && number == -17);

  memset(operations, 0, sizeof operations);
  operations[0].kind = HOSTMAP_OP_APPEND;
  operations[0].key.data = "language";
  operations[0].key.size = 8;
  operations[0].value.data = "99";
  operations[0].value.size = 2;
  operations[1] = operations[0];
  operations[1].kind = HOSTMAP_OP_GET;
  EXPECT(hostmap_apply(map, operations, 2, outcomes) == HOSTMAP_OK);
  EXPECT(outcomes[0].status == HOSTMAP_OK && outcomes[0].number == 3);
  EXPECT(outcomes[1].status == HOSTMAP_OK && strcmp((const char *)outcomes[1].value, "C99") == 0);
  hostmap_free(outcomes[1].value);

  EXPECT(hostmap_scan_begin(map, "lang", 4, 0, &scan) == HOSTMAP_OK);
  EXPECT(hostmap_scan_next(scan, &key, &key_size, &value, &value_size) == HOSTMAP_OK);
  EXPECT(key_size == 8 && memcmp(key, "language", 8) == 0 && value_size == 3 && memcmp(value, "C99", 3) == 0);
  EXPECT(hostmap_scan_next(scan, &key, &key_size, &value, &value_size) == HOSTMAP_NOT_FOUND);
  hostmap_scan_end(scan);

  EXPECT(hostmap_erase(map, "language", 8) == HOSTMAP_OK);
  EXPECT(hostmap_erase(map, "number", 6) == HOSTMAP_OK);
  hostmap_close(map);
  return 0;
}
