/* A testee of the conformance suite over the C interface, hostmap/hostmap.h. See test/conformance/README.md: it reads operations
 * from standard input, a line each, and writes an answer for each, also a line. C99 and POSIX. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hostmap/hostmap.h>

#define MILLION INT64_C(1000000)
#define LONGEST_WAIT_NS (60000 * MILLION)

static const char* const status_words[] = {"ok",           "not_found",     "already_exists",   "mismatch",
                                           "not_a_number", "overflow",      "buffer_too_small", "timeout",
                                           "no_server",    "full",          "too_large",        "invalid",
                                           "permission",   "other_version", "closed",           "internal"};

static const char* server_name;
static hostmap_map* map;
static hostmap_scan* scan;
static char message[4096];

/* ---- Memory and text: whatever an operation needs lives until it has been answered ---- */

static void* memory[100000];
static size_t memories;

static void* keep(void* pointer) {
  if (!pointer || memories == sizeof memory / sizeof *memory) {
    fputs("conformance_c: out of memory\n", stderr);
    exit(1);
  }
  return memory[memories++] = pointer;
}

static void* take(size_t size) { return keep(calloc(1, size ? size : 1)); }

static void free_all(void) {
  while (memories) free(memory[--memories]);
}

typedef struct {
  char* text;
  size_t size, capacity;
} answer_text;

static answer_text answer;

__attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
  va_list arguments;
  size_t needed;
  va_start(arguments, format);
  needed = (size_t)vsnprintf(NULL, 0, format, arguments) + 1;
  va_end(arguments);
  if (answer.size + needed > answer.capacity) {
    answer.capacity = 2 * (answer.size + needed);
    answer.text = realloc(answer.text, answer.capacity);
    if (!answer.text) exit(1);
  }
  va_start(arguments, format);
  vsnprintf(answer.text + answer.size, needed, format, arguments);
  va_end(arguments);
  answer.size += needed - 1;
}

/* An unknown operation, or one that lacks a word. */
static jmp_buf malformed;

/* ---- Words ---- */

typedef struct {
  char** words;
  size_t count;
} request;

static const char* word_at(const request* r, size_t i) {
  if (i >= r->count) longjmp(malformed, 1);
  return r->words[i];
}

static int64_t integer(const char* word) {
  char* end;
  errno = 0;
  long long number = strtoll(word, &end, 10);
  if (errno || *end || end == word) longjmp(malformed, 1);
  return number;
}

static uint64_t natural(const char* word, int base) {
  char* end;
  errno = 0;
  unsigned long long number = strtoull(word, &end, base);
  if (errno || *end || end == word) longjmp(malformed, 1);
  return number;
}

static double fraction(const char* word) {
  char* end;
  double number = strtod(word, &end);
  if (*end || end == word) longjmp(malformed, 1);
  return number;
}

static unsigned hex_byte(const char* digits) {
  char text[3] = {digits[0], digits[0] ? digits[1] : '\0', '\0'};
  return (unsigned)natural(text, 16);
}

static hostmap_bytes decode(const char* word) {
  hostmap_bytes bytes;
  const char* colon = strchr(word, ':');
  size_t size = 0, i;
  char* data;
  if ((*word == '@' || *word == '$') && colon) {
    char number[32] = {0};
    size_t digits = (size_t)(colon - word) - 1;
    if (digits >= sizeof number) longjmp(malformed, 1);
    memcpy(number, word + 1, digits);
    size = natural(number, 10);
    data = take(size);
    if (*word == '@') {
      memset(data, (int)hex_byte(colon + 1), size);
    } else {
      uint64_t start = natural(colon + 1, 10);
      for (i = 0; i < size; ++i) data[i] = (char)(unsigned char)(167 * i + 13 * (i / 256) + start);
    }
  } else {
    data = take(strlen(word));
    if (strcmp(word, "%") != 0) {
      while (*word) {
        if (*word == '%') {
          data[size++] = (char)(unsigned char)hex_byte(word + 1);
          word += 3;
        } else {
          data[size++] = *word++;
        }
      }
    }
  }
  bytes.data = data;
  bytes.size = size;
  return bytes;
}

static hostmap_bytes bytes_at(const request* r, size_t i) { return decode(word_at(r, i)); }

static char* text_at(const char* word) {
  hostmap_bytes bytes = decode(word);
  char* text = take(bytes.size + 1);
  memcpy(text, bytes.data, bytes.size);
  text[bytes.size] = '\0';
  return text;
}

static uint32_t crc32_of(const unsigned char* data, size_t size) {
  uint32_t crc = ~UINT32_C(0);
  size_t i;
  int bit;
  for (i = 0; i < size; ++i) {
    crc ^= data[i];
    for (bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? UINT32_C(0xEDB88320) : 0);
  }
  return ~crc;
}

static int is_plain(unsigned char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         (byte && strchr("_.:,/+-", byte));
}

/* The word for some bytes, in memory that lives until the answer. */
static char* encode(const void* bytes, size_t size) {
  const unsigned char* data = bytes;
  char *word = take(size <= 1024 ? 3 * size + 40 : 40), *end = word;
  size_t i, equal = 0;
  while (equal < size && data[equal] == data[0]) ++equal;
  if (size == 0) {
    strcpy(word, "%");
  } else if (size == 1 && *data == '-') {
    strcpy(word, "%2D");
  } else if (size > 64 && equal == size) {
    sprintf(word, "@%zu:%02X", size, data[0]);
  } else if (size > 1024) {
    sprintf(word, "#%zu:%08" PRIX32, size, crc32_of(data, size));
  } else {
    for (i = 0; i < size; ++i) end += is_plain(data[i]) ? sprintf(end, "%c", data[i]) : sprintf(end, "%%%02X", data[i]);
  }
  return word;
}

static int64_t ttl_of(const char* word) {
  if (!strcmp(word, "forever")) return HOSTMAP_FOREVER;
  if (!strcmp(word, "keep")) return HOSTMAP_KEEP_TTL;
  return integer(word);
}

static int64_t ttl_at(const request* r, size_t i) { return i < r->count ? ttl_of(r->words[i]) : HOSTMAP_FOREVER; }

static hostmap_token token_of(const char* word) {
  hostmap_token token = {0, 0};
  char high[17] = {0};
  if (!strcmp(word, "-")) return token;
  if (strlen(word) != 32) longjmp(malformed, 1);
  memcpy(high, word, 16);
  token.high = natural(high, 16);
  token.low = natural(word + 16, 16);
  return token;
}

static int64_t bits_of(double number) {
  int64_t bits;
  memcpy(&bits, &number, sizeof bits);
  return bits;
}

static double double_of(int64_t bits) {
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static const char* word_of(int status) {
  return status >= 0 && status <= HOSTMAP_INTERNAL ? status_words[status] : "unknown_status";
}

static int status_of(const char* word) {
  int status;
  for (status = 0; status <= HOSTMAP_INTERNAL; ++status)
    if (!strcmp(word, status_words[status])) return status;
  longjmp(malformed, 1);
}

/* Says a status, and keeps its message. Returns whether it is HOSTMAP_OK. */
static int say_status(int status) {
  if (status != HOSTMAP_OK) snprintf(message, sizeof message, "%s", hostmap_message());
  say("%s", word_of(status));
  return status == HOSTMAP_OK;
}

/* The results are read after the call whose status this is: C evaluates arguments in any order. */
static void say_integer(int status, const int64_t* number) {
  if (say_status(status)) say(" %" PRId64, *number);
}

static void say_natural(int status, const uint64_t* number) {
  if (say_status(status)) say(" %" PRIu64, *number);
}

static void say_double(int status, const double* number) {
  if (say_status(status)) say(" %.17g", *number);
}

/* Says a value that the library has allocated, and frees it. */
static int say_value(int status, void* value, size_t size) {
  if (say_status(status)) say(" %s", encode(value, size));
  if (status != HOSTMAP_OK && status != HOSTMAP_ALREADY_EXISTS && value) say(" and_a_value_after_an_error");
  hostmap_free(value);
  return status;
}

/* ---- Operations ---- */

static uint64_t sleeps;
static int hook_is_balanced = 1, hook_ends_sleep, in_sleep;

static int sleeping(void* context, int begins) {
  if (context != &sleeps || begins == in_sleep) hook_is_balanced = 0;
  in_sleep = begins;
  if (begins) ++sleeps;
  return begins ? 0 : hook_ends_sleep;
}

static int open_map(const hostmap_options* options) {
  hostmap_options own = HOSTMAP_OPTIONS_INIT;
  own.name = server_name;
  return hostmap_connect(options ? options : &own, &map);
}

static void close_map(void) {
  hostmap_scan_end(scan);
  scan = NULL;
  hostmap_close(map);
  map = NULL;
}

static void do_connect(const request* r) {
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  size_t i;
  options.name = server_name;
  hook_ends_sleep = 0;
  for (i = 1; i < r->count; ++i) {
    const char* word = r->words[i];
    if (!strncmp(word, "name=", 5)) {
      options.name = text_at(word + 5);
    } else if (!strncmp(word, "dir=", 4)) {
      options.dir = text_at(word + 4);
    } else if (!strncmp(word, "group=", 6)) {
      options.group = text_at(word + 6);
    } else if (!strncmp(word, "user=", 5)) {
      options.user = text_at(word + 5);
    } else if (!strncmp(word, "timeout=", 8)) {
      options.timeout_ns = integer(word + 8) * MILLION;
    } else if (!strcmp(word, "read_only")) {
      options.flags |= HOSTMAP_READ_ONLY;
    } else if (!strcmp(word, "wait_for_server")) {
      options.flags |= HOSTMAP_WAIT_FOR_SERVER;
    } else if (!strcmp(word, "reads_by_ring")) {
      options.flags |= HOSTMAP_READS_BY_RING;
    } else if (!strcmp(word, "hook") || !strcmp(word, "hook_ends_sleep")) {
      options.sleeping = sleeping;
      options.context = &sleeps;
      hook_ends_sleep = !strcmp(word, "hook_ends_sleep");
    } else if (!strncmp(word, "struct_size=", 12)) {
      options.struct_size = (size_t)natural(word + 12, 10);
    } else if (!strncmp(word, "flags=", 6)) {
      options.flags = (uint32_t)natural(word + 6, 10);
    } else {
      say("unsupported");
      return;
    }
  }
  close_map();
  say_status(open_map(&options));
  if (!map == !strcmp(answer.text, "ok")) say(" and_a_map_that_does_not_fit");
}

static void do_multi_get(const request* r, size_t first, size_t buffer_size, int may_grow) {
  size_t count = r->count - first, used = 0, i;
  hostmap_bytes* keys = take(count * sizeof *keys);
  hostmap_value* values = take(count * sizeof *values);
  char* buffer = take(buffer_size);
  int status;
  for (i = 0; i < count; ++i) keys[i] = bytes_at(r, first + i);
  status = hostmap_multi_get(map, keys, count, values, buffer, buffer_size, &used);
  if (may_grow && status == HOSTMAP_BUFFER_TOO_SMALL) {
    do_multi_get(r, first, used, 0);
    return;
  }
  say_status(status);
  if (first == 2) say(" %zu", used);
  for (i = 0; i < count; ++i) {
    if (values[i].status == HOSTMAP_OK) {
      say(" %s", encode(buffer + values[i].offset, values[i].size));
    } else if (values[i].status == HOSTMAP_NOT_FOUND) {
      say(" -");
    } else if (values[i].status == HOSTMAP_BUFFER_TOO_SMALL) {
      say(" !buffer_too_small:%zu", values[i].size);
    } else {
      say(" !%s", word_of(values[i].status));
    }
  }
}

static void do_multi_put(const request* r, size_t first) {
  size_t count = (r->count - first) / 2, i;
  hostmap_pair* pairs = take(count * sizeof *pairs);
  int32_t* statuses = take(count * sizeof *statuses);
  for (i = 0; i < count; ++i) {
    pairs[i].key = bytes_at(r, first + 2 * i);
    pairs[i].value = bytes_at(r, first + 2 * i + 1);
  }
  say_status(first == 1 ? hostmap_multi_put(map, pairs, count, statuses)
                        : hostmap_multi_put_ttl(map, pairs, count, ttl_at(r, 1), statuses));
  for (i = 0; i < count; ++i) say(" %s", word_of(statuses[i]));
}

static void do_multi_erase(const request* r) {
  size_t count = r->count - 1, i;
  hostmap_bytes* keys = take(count * sizeof *keys);
  int32_t* statuses = take(count * sizeof *statuses);
  for (i = 0; i < count; ++i) keys[i] = bytes_at(r, 1 + i);
  say_status(hostmap_multi_erase(map, keys, count, statuses));
  for (i = 0; i < count; ++i) say(" %s", word_of(statuses[i]));
}

static const struct {
  const char* name;
  uint32_t kind;
} kinds[] = {{"put", HOSTMAP_OP_PUT},
             {"insert", HOSTMAP_OP_INSERT},
             {"erase", HOSTMAP_OP_ERASE},
             {"compare_exchange", HOSTMAP_OP_COMPARE_EXCHANGE},
             {"increment", HOSTMAP_OP_INCREMENT},
             {"get", HOSTMAP_OP_GET},
             {"put_if", HOSTMAP_OP_PUT_IF},
             {"erase_if", HOSTMAP_OP_ERASE_IF},
             {"append", HOSTMAP_OP_APPEND},
             {"replace", HOSTMAP_OP_REPLACE},
             {"expire", HOSTMAP_OP_EXPIRE},
             {"increment_double", HOSTMAP_OP_INCREMENT_DOUBLE},
             {"increment_stored", HOSTMAP_OP_INCREMENT_STORED},
             {"increment_stored_double", HOSTMAP_OP_INCREMENT_STORED_DOUBLE}};

static hostmap_operation operation_of(const request* r) {
  hostmap_operation o;
  size_t i = 0;
  memset(&o, 0, sizeof o);
  while (strcmp(word_at(r, 0), kinds[i].name) != 0)
    if (++i == sizeof kinds / sizeof *kinds) longjmp(malformed, 1);
  o.kind = kinds[i].kind;
  o.key = bytes_at(r, 1);
  o.ttl_ms = HOSTMAP_FOREVER;
  switch (o.kind) {
    case HOSTMAP_OP_PUT:
    case HOSTMAP_OP_INSERT:
    case HOSTMAP_OP_REPLACE:
      o.ttl_ms = ttl_at(r, 3);
      o.value = bytes_at(r, 2);
      break;
    case HOSTMAP_OP_APPEND:
      o.value = bytes_at(r, 2);
      break;
    case HOSTMAP_OP_COMPARE_EXCHANGE:
      o.expected = bytes_at(r, 2);
      o.value = bytes_at(r, 3);
      break;
    case HOSTMAP_OP_PUT_IF:
      o.value = bytes_at(r, 2);
      o.token = token_of(word_at(r, 3));
      break;
    case HOSTMAP_OP_ERASE_IF:
      o.token = token_of(word_at(r, 2));
      break;
    case HOSTMAP_OP_EXPIRE:
      o.ttl_ms = ttl_at(r, 2);
      break;
    case HOSTMAP_OP_INCREMENT:
    case HOSTMAP_OP_INCREMENT_STORED:
      o.by = integer(word_at(r, 2));
      o.initial = r->count > 3 ? integer(r->words[3]) : 0;
      o.ttl_ms = ttl_at(r, 4);
      break;
    case HOSTMAP_OP_INCREMENT_DOUBLE:
    case HOSTMAP_OP_INCREMENT_STORED_DOUBLE:
      o.by = bits_of(fraction(word_at(r, 2)));
      o.initial = bits_of(r->count > 3 ? fraction(r->words[3]) : 0);
      o.ttl_ms = ttl_at(r, 4);
      break;
    default:
      break;
  }
  return o;
}

static void do_apply(const request* r) {
  hostmap_operation* operations = take(r->count * sizeof *operations);
  hostmap_outcome* outcomes = take(r->count * sizeof *outcomes);
  size_t count = 0, i = 1, begin;
  memset(outcomes, 0, r->count * sizeof *outcomes);
  while (i < r->count) {
    request part;
    for (begin = i; i < r->count && strcmp(r->words[i], ";") != 0; ++i) {
    }
    part.words = r->words + begin;
    part.count = i++ - begin;
    operations[count++] = operation_of(&part);
  }
  say_status(hostmap_apply(map, operations, count, outcomes));
  for (i = 0; i < count; ++i) {
    say(" ; %s", word_of(outcomes[i].status));
    if (outcomes[i].status == HOSTMAP_OK) {
      switch (operations[i].kind) {
        case HOSTMAP_OP_GET:
          say(" %s", encode(outcomes[i].value, outcomes[i].value_size));
          break;
        case HOSTMAP_OP_INCREMENT:
        case HOSTMAP_OP_INCREMENT_STORED:
        case HOSTMAP_OP_APPEND:
          say(" %" PRId64, outcomes[i].number);
          break;
        case HOSTMAP_OP_INCREMENT_DOUBLE:
        case HOSTMAP_OP_INCREMENT_STORED_DOUBLE:
          say(" %.17g", double_of(outcomes[i].number));
          break;
        default:
          break;
      }
    }
    hostmap_free(outcomes[i].value);
  }
}

static int compare_words(const void* left, const void* right) {
  return strcmp(*(char* const*)left, *(char* const*)right);
}

static void do_scan(const request* r, int keys_only) {
  hostmap_bytes prefix = bytes_at(r, 1);
  hostmap_scan* own = NULL;
  size_t count = 0, capacity = 64, key_size, value_size, i;
  char** found = malloc(capacity * sizeof *found);
  const void *key, *value;
  int status = hostmap_scan_begin(map, prefix.data, prefix.size, keys_only, &own);
  while (found && status == HOSTMAP_OK &&
         (status = hostmap_scan_next(own, &key, &key_size, keys_only ? NULL : &value,
                                     keys_only ? NULL : &value_size)) == HOSTMAP_OK) {
    char* word = encode(key, key_size);
    if (!keys_only) {
      char *value_word = encode(value, value_size), *pair = take(strlen(word) + strlen(value_word) + 2);
      sprintf(pair, "%s=%s", word, value_word);
      word = pair;
    }
    if (count == capacity) found = realloc(found, (capacity *= 2) * sizeof *found);
    if (found) found[count++] = word;
  }
  hostmap_scan_end(own);
  keep(found);
  if (say_status(status == HOSTMAP_NOT_FOUND ? HOSTMAP_OK : status)) {
    qsort(found, count, sizeof *found, compare_words);
    for (i = 0; i < count; ++i) say(" %s", found[i]);
  }
}

static void do_compute(const request* r) {
  hostmap_bytes key = bytes_at(r, 1), gate = bytes_at(r, 4);
  const char* result = word_at(r, 5);
  void* value = NULL;
  size_t size = 0;
  uint64_t number = 0;
  int status = hostmap_compute_begin(map, key.data, key.size, integer(word_at(r, 3)), &value, &size, &number);
  int has_computed = status == HOSTMAP_NOT_FOUND && number != 0;
  if (has_computed) {
    if (strcmp(r->words[4], "-") != 0) {
      hostmap_put(map, gate.data, gate.size, "begun", 5);
      hostmap_wait(map, gate.data, gate.size, "begun", 5, LONGEST_WAIT_NS, &value, &size);
      hostmap_free(value);
      value = NULL;
    }
    if (*result == '!') {
      status = hostmap_compute_fail(map, key.data, key.size, status_of(result + 1), number);
      if (status == HOSTMAP_OK) status = status_of(result + 1);
    } else {
      hostmap_bytes computed = decode(result);
      status = hostmap_compute_put(map, key.data, key.size, computed.data, computed.size, ttl_at(r, 2), number);
      if (status == HOSTMAP_OK) {
        say("ok %s computed", encode(computed.data, computed.size));
        return;
      }
      if (status == HOSTMAP_ALREADY_EXISTS) status = hostmap_get_copy(map, key.data, key.size, &value, &size);
    }
  }
  say_value(status, value, size);
  say(has_computed ? " computed" : " found");
}

static void do_compute_begin(const request* r) {
  hostmap_bytes key = bytes_at(r, 1);
  void* value = NULL;
  size_t size = 0;
  uint64_t number = 0;
  int status = hostmap_compute_begin(map, key.data, key.size, integer(word_at(r, 2)), &value, &size, &number);
  say_value(status, value, size);
  if (status == HOSTMAP_NOT_FOUND) say(" %" PRIu64, number);
}

typedef struct {
  pthread_t thread;
  const char *kind, *key;
  int64_t times;
  size_t number;
  int status;
  char text[200];
} worker;

static void* work(void* argument) {
  worker* w = argument;
  int64_t i, sum;
  char own[300];
  void* value;
  size_t size, key_size = strlen(w->key);
  for (i = 0; i < w->times && w->status == HOSTMAP_OK; ++i) {
    size_t own_size = (size_t)snprintf(own, sizeof own, "%s%zu.%" PRId64, w->key, w->number, i);
    if (!strcmp(w->kind, "increment")) {
      w->status = hostmap_increment(map, w->key, key_size, 1, &sum);
    } else if (!strcmp(w->kind, "put")) {
      w->status = hostmap_put(map, own, own_size, own, own_size);
    } else if (!strcmp(w->kind, "put_async")) {
      w->status = hostmap_put_async(map, own, own_size, own, own_size);
    } else {
      w->status = hostmap_put(map, own, own_size, own, own_size);
      if (w->status != HOSTMAP_OK) break;
      w->status = hostmap_get_copy(map, own, own_size, &value, &size);
      if (w->status != HOSTMAP_OK) break;
      if (size != own_size || memcmp(value, own, size) != 0) w->status = HOSTMAP_INTERNAL;
      hostmap_free(value);
      if (w->status == HOSTMAP_OK) w->status = hostmap_erase(map, own, own_size);
    }
  }
  if (w->status == HOSTMAP_OK && !strcmp(w->kind, "put_async")) w->status = hostmap_flush(map);
  snprintf(w->text, sizeof w->text, "%s", hostmap_message());
  return NULL;
}

static void do_threads(const request* r) {
  size_t count = natural(word_at(r, 1), 10), i;
  worker* workers = take(count * sizeof *workers);
  int status = HOSTMAP_OK;
  memset(workers, 0, count * sizeof *workers);
  for (i = 0; i < count; ++i) {
    workers[i].times = integer(word_at(r, 2));
    workers[i].kind = word_at(r, 3);
    workers[i].key = text_at(word_at(r, 4));
    workers[i].number = i;
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) exit(1);
  }
  for (i = 0; i < count; ++i) {
    pthread_join(workers[i].thread, NULL);
    if (status == HOSTMAP_OK && workers[i].status != HOSTMAP_OK) {
      status = workers[i].status;
      memcpy(message, workers[i].text, sizeof workers[i].text);
    }
  }
  say("%s", word_of(status));
}

static void do_fill(const request* r) {
  hostmap_bytes prefix = bytes_at(r, 1);
  size_t size = natural(word_at(r, 2), 10), most = natural(word_at(r, 3), 10), i;
  char *value = take(size), *key = take(prefix.size + 32);
  int status = HOSTMAP_OK;
  memset(value, 'f', size);
  memcpy(key, prefix.data, prefix.size);
  for (i = 0; i < most; ++i) {
    size_t digits = (size_t)sprintf(key + prefix.size, "%zu", i);
    status = hostmap_put(map, key, prefix.size + digits, value, size);
    if (status != HOSTMAP_OK) break;
  }
  say_status(status);
  say(" %zu", i);
}

/* Each function without a map, and with pointers that are null. */
static void do_null_map(void) {
  const char* key = "k";
  char buffer[8];
  void* value = NULL;
  size_t size = 0;
  uint64_t number = 0;
  int64_t signed_number = 0;
  double real = 0;
  hostmap_token token = {0, 0};
  hostmap_bytes bytes = {"k", 1};
  hostmap_pair pair = {{"k", 1}, {"v", 1}};
  hostmap_value found;
  int32_t status;
  hostmap_operation operation;
  hostmap_outcome outcome;
  hostmap_scan* own = NULL;
  size_t i;
  memset(&operation, 0, sizeof operation);
  const struct {
    const char* name;
    int status;
  } calls[] = {
      {"set_timeout", hostmap_set_timeout(NULL, 1)},
      {"get", hostmap_get(NULL, key, 1, buffer, sizeof buffer, &size)},
      {"get_copy", hostmap_get_copy(NULL, key, 1, &value, &size)},
      {"exists", hostmap_exists(NULL, key, 1)},
      {"ttl", hostmap_ttl(NULL, key, 1, &signed_number)},
      {"multi_get", hostmap_multi_get(NULL, &bytes, 1, &found, buffer, sizeof buffer, &size)},
      {"size", hostmap_size(NULL, &number)},
      {"put", hostmap_put(NULL, key, 1, "v", 1)},
      {"put_ttl", hostmap_put_ttl(NULL, key, 1, "v", 1, 1000)},
      {"put_async", hostmap_put_async(NULL, key, 1, "v", 1)},
      {"put_async_ttl", hostmap_put_async_ttl(NULL, key, 1, "v", 1, 1000)},
      {"flush", hostmap_flush(NULL)},
      {"insert", hostmap_insert(NULL, key, 1, "v", 1)},
      {"insert_ttl", hostmap_insert_ttl(NULL, key, 1, "v", 1, 1000)},
      {"replace", hostmap_replace(NULL, key, 1, "v", 1)},
      {"replace_ttl", hostmap_replace_ttl(NULL, key, 1, "v", 1, 1000)},
      {"erase", hostmap_erase(NULL, key, 1)},
      {"expire", hostmap_expire(NULL, key, 1, 1000)},
      {"expire_async", hostmap_expire_async(NULL, key, 1, 1000)},
      {"append", hostmap_append(NULL, key, 1, "v", 1, &number)},
      {"erase_prefix", hostmap_erase_prefix(NULL, key, 1, &number)},
      {"clear", hostmap_clear(NULL)},
      {"increment", hostmap_increment(NULL, key, 1, 1, &signed_number)},
      {"increment_from", hostmap_increment_from(NULL, key, 1, 1, 0, 1000, &signed_number)},
      {"increment_double", hostmap_increment_double(NULL, key, 1, 1, 0, 1000, &real)},
      {"increment_stored", hostmap_increment_stored(NULL, key, 1, 1, 0, 1000, &signed_number)},
      {"increment_stored_double", hostmap_increment_stored_double(NULL, key, 1, 1, 0, 1000, &real)},
      {"compare_exchange", hostmap_compare_exchange(NULL, key, 1, "a", 1, "b", 1)},
      {"compare_erase", hostmap_compare_erase(NULL, key, 1, "a", 1)},
      {"get_with_token", hostmap_get_with_token(NULL, key, 1, &value, &size, &token)},
      {"put_if", hostmap_put_if(NULL, key, 1, "v", 1, &token)},
      {"erase_if", hostmap_erase_if(NULL, key, 1, &token)},
      {"exchange", hostmap_exchange(NULL, key, 1, "v", 1, &value, &size)},
      {"take", hostmap_take(NULL, key, 1, &value, &size)},
      {"insert_or_get", hostmap_insert_or_get(NULL, key, 1, "v", 1, &value, &size)},
      {"multi_put", hostmap_multi_put(NULL, &pair, 1, &status)},
      {"multi_put_ttl", hostmap_multi_put_ttl(NULL, &pair, 1, 1000, &status)},
      {"multi_erase", hostmap_multi_erase(NULL, &bytes, 1, &status)},
      {"apply", hostmap_apply(NULL, &operation, 1, &outcome)},
      {"scan_begin", hostmap_scan_begin(NULL, key, 1, 0, &own)},
      {"scan_next", hostmap_scan_next(NULL, (const void**)&value, &size, NULL, NULL)},
      {"wait", hostmap_wait(NULL, key, 1, NULL, 0, 0, &value, &size)},
      {"lease", hostmap_lease(NULL, key, 1, 1000, 0, &number)},
      {"release", hostmap_release(NULL, key, 1, 1)},
      {"compute_begin", hostmap_compute_begin(NULL, key, 1, 1000, &value, &size, &number)},
      {"compute_put", hostmap_compute_put(NULL, key, 1, "v", 1, 1000, 1)},
      {"compute_fail", hostmap_compute_fail(NULL, key, 1, HOSTMAP_TIMEOUT, 1)},
      /* A null pointer with another size than 0 is not an argument. */
      {"get without a key", hostmap_get(map, NULL, 1, buffer, sizeof buffer, &size)},
      {"put without a key", hostmap_put(map, NULL, 1, "v", 1)},
      {"put without a value", hostmap_put(map, key, 1, NULL, 1)},
      {"append without bytes", hostmap_append(map, key, 1, NULL, 1, &number)},
      {"insert without a value", hostmap_insert(map, key, 1, NULL, 1)},
      {"compare_exchange without a value", hostmap_compare_exchange(map, key, 1, NULL, 1, "b", 1)},
      {"multi_put without a value", hostmap_multi_put(map, &(hostmap_pair){{"k", 1}, {NULL, 1}}, 1, &status)},
      {"scan without a prefix", hostmap_scan_begin(map, NULL, 1, 0, &own)},
      {"get of an empty key", hostmap_get(map, NULL, 0, buffer, sizeof buffer, &size)},
  };
  hostmap_close(NULL);
  hostmap_scan_end(NULL);
  hostmap_free(NULL);
  for (i = 0; i < sizeof calls / sizeof *calls; ++i) {
    if (calls[i].status != HOSTMAP_INVALID) {
      say("ok %s", encode(calls[i].name, strlen(calls[i].name)));
      say(" %s", word_of(calls[i].status));
      return;
    }
  }
  if (value || own || *hostmap_message() == '\0') {
    say("ok a_result_that_is_not_null");
    return;
  }
  say("ok");
}

#define KEY bytes_at(r, 1).data, bytes_at(r, 1).size
#define BYTES(i) bytes_at(r, i).data, bytes_at(r, i).size
#define IS(name) (!strcmp(operation, name))

static int do_writes(const request* r, const char* operation) {
  uint64_t count = 0;
  if (IS("put")) {
    say_status(r->count > 3 ? hostmap_put_ttl(map, KEY, BYTES(2), ttl_at(r, 3)) : hostmap_put(map, KEY, BYTES(2)));
  } else if (IS("put_async")) {
    say_status(r->count > 3 ? hostmap_put_async_ttl(map, KEY, BYTES(2), ttl_at(r, 3))
                            : hostmap_put_async(map, KEY, BYTES(2)));
  } else if (IS("insert")) {
    say_status(r->count > 3 ? hostmap_insert_ttl(map, KEY, BYTES(2), ttl_at(r, 3))
                            : hostmap_insert(map, KEY, BYTES(2)));
  } else if (IS("replace")) {
    say_status(r->count > 3 ? hostmap_replace_ttl(map, KEY, BYTES(2), ttl_at(r, 3))
                            : hostmap_replace(map, KEY, BYTES(2)));
  } else if (IS("flush")) {
    say_status(hostmap_flush(map));
  } else if (IS("erase")) {
    say_status(hostmap_erase(map, KEY));
  } else if (IS("expire")) {
    say_status(hostmap_expire(map, KEY, ttl_of(word_at(r, 2))));
  } else if (IS("expire_async")) {
    say_status(hostmap_expire_async(map, KEY, ttl_of(word_at(r, 2))));
  } else if (IS("append")) {
    say_natural(hostmap_append(map, KEY, BYTES(2), &count), &count);
  } else if (IS("erase_prefix")) {
    say_natural(hostmap_erase_prefix(map, KEY, &count), &count);
  } else if (IS("clear")) {
    say_status(hostmap_clear(map));
  } else {
    return 0;
  }
  return 1;
}

static int do_numbers(const request* r, const char* operation) {
  int64_t number = 0;
  double real = 0;
  const char* initial = r->count > 3 ? r->words[3] : "0";
  if (IS("increment")) {
    if (r->count > 3) {
      say_integer(hostmap_increment_from(map, KEY, integer(word_at(r, 2)), integer(initial), ttl_at(r, 4), &number),
                  &number);
    } else {
      say_integer(hostmap_increment(map, KEY, integer(word_at(r, 2)), &number), &number);
    }
  } else if (IS("increment_double")) {
    say_double(hostmap_increment_double(map, KEY, fraction(word_at(r, 2)), fraction(initial), ttl_at(r, 4), &real),
               &real);
  } else if (IS("increment_stored")) {
    say_integer(hostmap_increment_stored(map, KEY, integer(word_at(r, 2)), integer(initial), ttl_at(r, 4), &number),
                &number);
  } else if (IS("increment_stored_double")) {
    say_double(
        hostmap_increment_stored_double(map, KEY, fraction(word_at(r, 2)), fraction(initial), ttl_at(r, 4), &real),
        &real);
  } else {
    return 0;
  }
  return 1;
}

static int do_conditions(const request* r, const char* operation) {
  void* value = NULL;
  size_t size = 0;
  int status;
  hostmap_token token = {0, 0};
  if (IS("compare_exchange")) {
    say_status(hostmap_compare_exchange(map, KEY, BYTES(2), BYTES(3)));
  } else if (IS("compare_erase")) {
    say_status(hostmap_compare_erase(map, KEY, BYTES(2)));
  } else if (IS("get_with_token")) {
    status = hostmap_get_with_token(map, KEY, &value, &size, &token);
    if (say_value(status, value, size) == HOSTMAP_OK) say(" %016" PRIx64 "%016" PRIx64, token.high, token.low);
  } else if (IS("put_if")) {
    token = token_of(word_at(r, 3));
    say_status(hostmap_put_if(map, KEY, BYTES(2), &token));
  } else if (IS("erase_if")) {
    token = token_of(word_at(r, 2));
    say_status(hostmap_erase_if(map, KEY, &token));
  } else if (IS("exchange")) {
    status = hostmap_exchange(map, KEY, BYTES(2), &value, &size);
    if (status == HOSTMAP_OK && !value) {
      say(size == 0 ? "ok -" : "ok a_size_without_a_value");
    } else {
      say_value(status, value, size);
    }
  } else if (IS("take")) {
    status = hostmap_take(map, KEY, &value, &size);
    say_value(status, value, size);
  } else if (IS("insert_or_get")) {
    status = hostmap_insert_or_get(map, KEY, BYTES(2), &value, &size);
    say_status(status);
    if (status == HOSTMAP_ALREADY_EXISTS) say(" %s", encode(value, size));
    if (status != HOSTMAP_ALREADY_EXISTS && value) say(" and_a_value");
    hostmap_free(value);
  } else {
    return 0;
  }
  return 1;
}

static int do_reads(const request* r, const char* operation) {
  void* value = NULL;
  size_t size = 0;
  uint64_t count = 0;
  int64_t left = 0;
  int status;
  if (IS("get")) {
    status = hostmap_get_copy(map, KEY, &value, &size);
    if (value && ((const char*)value)[size] != '\0') say("no_zero_byte_behind ");
    say_value(status, value, size);
  } else if (IS("get_into")) {
    size_t buffer_size = natural(word_at(r, 2), 10);
    char* buffer = take(buffer_size);
    status = hostmap_get(map, KEY, buffer, buffer_size, &size);
    say_status(status);
    if (status == HOSTMAP_OK) say(" %s", encode(buffer, size));
    if (status == HOSTMAP_BUFFER_TOO_SMALL) say(" %zu", size);
  } else if (IS("exists")) {
    say_status(hostmap_exists(map, KEY));
  } else if (IS("ttl")) {
    status = hostmap_ttl(map, KEY, &left);
    if (status == HOSTMAP_OK && left == HOSTMAP_FOREVER) {
      say("ok forever");
    } else {
      say_integer(status, &left);
    }
  } else if (IS("size")) {
    say_natural(hostmap_size(map, &count), &count);
  } else if (IS("multi_get")) {
    do_multi_get(r, 1, 1000, 1);
  } else if (IS("multi_get_into")) {
    do_multi_get(r, 2, natural(word_at(r, 1), 10), 0);
  } else if (IS("scan")) {
    do_scan(r, 0);
  } else if (IS("scan_keys")) {
    do_scan(r, 1);
  } else if (IS("scan_begin")) {
    hostmap_scan_end(scan);
    scan = NULL;
    say_status(hostmap_scan_begin(map, KEY, r->count > 2 && !strcmp(r->words[2], "keys_only"), &scan));
  } else if (IS("scan_next")) {
    const void *key = NULL, *seen = NULL;
    size_t key_size = 0;
    status = hostmap_scan_next(scan, &key, &key_size, &seen, &size);
    if (say_status(status))
      say(" %s %s", encode(key, key_size), seen ? encode(seen, size) : size ? "size_without_value" : "-");
  } else if (IS("scan_end")) {
    hostmap_scan_end(scan);
    scan = NULL;
    say("ok");
  } else {
    return 0;
  }
  return 1;
}

static int do_others(const request* r, const char* operation) {
  void* value = NULL;
  size_t size = 0;
  uint64_t number = 0;
  int status;
  if (IS("wait")) {
    hostmap_bytes known = bytes_at(r, 2);
    int64_t timeout = !strcmp(word_at(r, 3), "forever") ? -1 : integer(word_at(r, 3)) * MILLION;
    if (!strcmp(word_at(r, 2), "-")) known.data = NULL, known.size = 0;
    status = hostmap_wait(map, KEY, known.data, known.size, timeout, &value, &size);
    say_value(status, value, size);
  } else if (IS("lease")) {
    int64_t patience = r->count > 3 ? integer(r->words[3]) * MILLION : 0;
    say_natural(hostmap_lease(map, KEY, integer(word_at(r, 2)), patience, &number), &number);
  } else if (IS("release")) {
    say_status(hostmap_release(map, KEY, natural(word_at(r, 2), 10)));
  } else if (IS("compute")) {
    do_compute(r);
  } else if (IS("compute_begin")) {
    do_compute_begin(r);
  } else if (IS("compute_put")) {
    say_status(hostmap_compute_put(map, KEY, BYTES(2), ttl_of(word_at(r, 3)), natural(word_at(r, 4), 10)));
  } else if (IS("compute_fail")) {
    say_status(hostmap_compute_fail(map, KEY, status_of(word_at(r, 2)), natural(word_at(r, 3), 10)));
  } else if (IS("multi_put")) {
    do_multi_put(r, 1);
  } else if (IS("multi_put_ttl")) {
    do_multi_put(r, 2);
  } else if (IS("multi_erase")) {
    do_multi_erase(r);
  } else if (IS("apply")) {
    do_apply(r);
  } else if (IS("threads")) {
    do_threads(r);
  } else if (IS("fill")) {
    do_fill(r);
  } else if (IS("timeout")) {
    say_status(hostmap_set_timeout(map, integer(word_at(r, 1)) * MILLION));
  } else if (IS("limit")) {
    int64_t limit = integer(word_at(r, 1)), before = hostmap_set_limit(limit < 0 ? limit : limit * MILLION);
    say("ok %" PRId64, before < 0 ? before : before / MILLION);
  } else if (IS("null_arguments")) {
    do_null_map();
  } else if (IS("sleeps")) {
    say(hook_is_balanced && !in_sleep ? "ok %" PRIu64 : "unbalanced %" PRIu64, sleeps);
  } else if (IS("status_name")) {
    say("ok %s", encode(hostmap_status_name((int)integer(word_at(r, 1))),
                        strlen(hostmap_status_name((int)integer(word_at(r, 1))))));
  } else {
    return 0;
  }
  return 1;
}

static void respond(const request* r);

/* Says the answer of a child of fork. */
static void in_child(const request* r) {
  request rest = {r->words + 1, r->count - 1};
  int ends[2], status = 0;
  pid_t child;
  char part[4096];
  ssize_t got;
  size_t begin = answer.size;
  if (!rest.count || pipe(ends) != 0) longjmp(malformed, 1);
  child = fork();
  if (child == 0) {
    size_t written = 0;
    message[0] = '\0';
    respond(&rest);
    if (message[0]) say("\n%s", message);
    while (written < answer.size) {
      ssize_t size = write(ends[1], answer.text + written, answer.size - written);
      if (size <= 0) _exit(1);
      written += (size_t)size;
    }
    _exit(0);
  }
  close(ends[1]);
  while ((got = read(ends[0], part, sizeof part)) > 0) say("%.*s", (int)got, part);
  close(ends[0]);
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    say(" and_the_child_died");
  } else if (answer.size > begin) {
    char* end = strchr(answer.text + begin, '\n');
    if (end) {
      snprintf(message, sizeof message, "%s", end + 1);
      *end = '\0';
      answer.size = (size_t)(end - answer.text);
    }
  }
}

static int needs_map(const char* operation) { return !IS("limit") && !IS("sleeps") && !IS("status_name"); }

static void respond(const request* r) {
  const char* operation = word_at(r, 0);
  if (IS("message")) {
    say("ok %s", encode(message, strlen(message)));
  } else if (IS("describe")) {
    const char* text = hostmap_describe(status_of(word_at(r, 1)));
    say("ok %s", encode(text, strlen(text)));
  } else if (IS("version")) {
    say("ok %s", encode(hostmap_version(), strlen(hostmap_version())));
    say(" %" PRIu32 " %s", hostmap_layout(), encode(hostmap_commit(), strlen(hostmap_commit())));
  } else if (IS("fork")) {
    in_child(r);
  } else if (IS("close")) {
    close_map();
    say("ok");
  } else if (IS("connect")) {
    do_connect(r);
  } else {
    int status = map || !needs_map(operation) ? HOSTMAP_OK : open_map(NULL);
    if (status != HOSTMAP_OK) {
      say_status(status);
    } else if (IS("open")) {
      say("ok");
    } else if (!do_reads(r, operation) && !do_writes(r, operation) && !do_numbers(r, operation) &&
               !do_conditions(r, operation) && !do_others(r, operation)) {
      say("unsupported");
    }
  }
}

int main(int count, char** arguments) {
  char* line = NULL;
  size_t capacity = 0;
  if (count != 2) {
    fputs("usage: conformance_c NAME, the name of a server; operations come from standard input\n", stderr);
    return 2;
  }
  server_name = arguments[1];
  while (getline(&line, &capacity, stdin) > 0) {
    request r = {NULL, 0};
    size_t most = 16;
    char *word, *rest = NULL;
    answer.size = 0;
    r.words = malloc(most * sizeof *r.words);
    for (word = strtok_r(line, " \n", &rest); word && r.words; word = strtok_r(NULL, " \n", &rest)) {
      if (r.count == most) r.words = realloc(r.words, (most *= 2) * sizeof *r.words);
      if (r.words) r.words[r.count++] = word;
    }
    keep(r.words);
    if (setjmp(malformed)) {
      answer.size = 0;
      say("malformed");
    } else {
      respond(&r);
    }
    puts(answer.text);
    fflush(stdout);
    free_all();
  }
  close_map();
  free(answer.text);
  free(line);
  return 0;
}
