/* hostmap: one hash map for every process on a host. The C interface, and the one that other languages bind to.
 *
 *   hostmap_options options = HOSTMAP_OPTIONS_INIT;
 *   hostmap_map *map;
 *   if (hostmap_connect(&options, &map) != HOSTMAP_OK) return complain(hostmap_message());
 *   hostmap_put(map, "language", 8, "C", 1);
 *   char value[64];
 *   size_t size;
 *   if (hostmap_get(map, "language", 8, value, sizeof value, &size) == HOSTMAP_OK) use(value, size);
 *   hostmap_close(map);
 *
 * Threads: every function may be called from any thread, also on one map at the same time, with two exceptions: hostmap_close
 * when no other call on this map is in progress, and a scan by one thread at a time. Reads run in parallel; writes take turns.
 *
 * Fork: the first call of a child connects anew. Queued writes (put_async, expire_async), scans and leases stay with the parent.
 *
 * Blocking: a call blocks for at most the timeout of its map, or the limit of its thread (hostmap_set_limit), unless its comment
 * says otherwise, and then returns HOSTMAP_TIMEOUT. "Does not block" means: no system call that waits, no message.
 *
 * Errors: every function that can fail returns a status. HOSTMAP_TIMEOUT and HOSTMAP_CLOSED of a change mean that its outcome is
 * unknown: it may or may not have been applied. Every other error of a change means that nothing was changed. Every call on a map
 * may also return what hostmap_connect returns, since it connects again when the server has been restarted. After an error,
 * hostmap_message() has one sentence about it.
 *
 * Arguments: bytes that are passed in are read during the call and not kept. A null pointer with a size of 0 is an empty string
 * of bytes; a null pointer with another size, and a null map, are HOSTMAP_INVALID. Keys have 1 to 65,536 bytes, values 0 bytes to
 * the server's --max-value. Results are stored only if the function returns HOSTMAP_OK, unless its comment says otherwise; a
 * pointer to a result that is not needed may be null where the comment says so.
 *
 * The library starts no thread, installs no signal handler, never prints, exits or throws. Its functions must not be called from
 * a signal handler.
 *
 * The declarations between the two marker lines are C99 without macros, for cffi, LuaJIT and others that read them.
 */
#ifndef HOSTMAP_HOSTMAP_H
#define HOSTMAP_HOSTMAP_H

#include <stddef.h>
#include <stdint.h>

/* The default options, with this header's idea of their size. */
#define HOSTMAP_OPTIONS_INIT \
  { sizeof(hostmap_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif
/* declarations */

typedef struct hostmap_map hostmap_map;
typedef struct hostmap_scan hostmap_scan;

/* Statuses. Their numbers never change; later versions may add some. */
enum {
  HOSTMAP_OK = 0,
  HOSTMAP_NOT_FOUND = 1,        /* the key is absent; an ordinary result */
  HOSTMAP_ALREADY_EXISTS = 2,   /* the key is present, or the lease is held */
  HOSTMAP_MISMATCH = 3,         /* the value is not the expected one */
  HOSTMAP_NOT_A_NUMBER = 4,     /* the value is not a decimal number */
  HOSTMAP_OVERFLOW = 5,         /* the number would exceed its range */
  HOSTMAP_BUFFER_TOO_SMALL = 6, /* the value is longer than the buffer */
  HOSTMAP_TIMEOUT = 7,          /* time has passed; the outcome of a change is unknown */
  HOSTMAP_NO_SERVER = 8,        /* no server runs under this name */
  HOSTMAP_FULL = 9,             /* no memory, or no room for a connection */
  HOSTMAP_TOO_LARGE = 10,       /* the key or the value is above its limit */
  HOSTMAP_INVALID = 11,         /* an argument that is never valid */
  HOSTMAP_PERMISSION = 12,      /* the server belongs to another user, or the map is read-only */
  HOSTMAP_OTHER_VERSION = 13,   /* server and client have different layouts of memory */
  HOSTMAP_CLOSED = 14,          /* the server closed the connection; the outcome of a change is unknown */
  HOSTMAP_INTERNAL = 15         /* a bug of hostmap, or damaged memory */
};

/* Of hostmap_options.flags. */
enum {
  HOSTMAP_READ_ONLY = 1,       /* takes no connection: reads alone, and changes are HOSTMAP_PERMISSION */
  HOSTMAP_WAIT_FOR_SERVER = 2, /* hostmap_connect waits for a server to appear */
  HOSTMAP_READS_BY_RING = 4    /* gets send a request instead of reading the table */
};

/* Times to live that are not numbers of milliseconds. A time to live is above 0, or one of these; all else is HOSTMAP_INVALID. */
enum {
  HOSTMAP_FOREVER = -2147483647, /* the key stays until it is erased */
  /* The key ends when it would have; an absent one stays. Of the puts and replaces with a time to live, HOSTMAP_OP_PUT and
     HOSTMAP_OP_REPLACE; HOSTMAP_INVALID of all others. */
  HOSTMAP_KEEP_TTL = -2147483646
};

typedef struct hostmap_options {
  size_t struct_size; /* sizeof(hostmap_options) of the caller; fields behind it count as 0 */
  const char* name;   /* of the server; null: "distributed-memory" */
  const char* dir;    /* the folder of its files; null: /dev/shm */
  const char* group;  /* trusts servers that share their files with this group alone; null: none */
  const char* user;   /* trusts the servers of this user, too, besides those of this process's user and of root */
  int64_t timeout_ns; /* bound of every call that blocks; 0: 5 seconds; below 0: none */
  uint32_t flags;
  uint32_t reserved; /* 0 */
  /* Null, or called by a thread that is about to sleep (begins = 1), and again when it has slept (begins = 0). In between it
     uses nothing that belongs to the caller but what was passed to the call, so that a host language can release its lock, and
     see afterwards whether a signal has arrived. A result other than 0 after the sleep ends the call as if its time had passed
     (HOSTMAP_TIMEOUT); the result of begins = 1 is ignored. A sleep lasts 0.5 s at most (0.1 s if the thread waits for another
     thread of the same map), and any signal ends it earlier. It must call no function of this library. */
  int (*sleeping)(void* context, int begins);
  void* context; /* of `sleeping` */
} hostmap_options;

typedef struct hostmap_bytes {
  const void* data;
  size_t size;
} hostmap_bytes;

typedef struct hostmap_pair {
  hostmap_bytes key;
  hostmap_bytes value;
} hostmap_pair;

/* One result of hostmap_multi_get: `size` bytes at `offset` of the buffer. */
typedef struct hostmap_value {
  int32_t status;
  uint32_t reserved;
  size_t offset;
  size_t size;
} hostmap_value;

/* Which value a key had when it was read. All zero stands for an absent key. */
typedef struct hostmap_token {
  uint64_t low;
  uint64_t high;
} hostmap_token;

/* ---- Connecting ---- */

/* Connects to the server of options->name; null options are the default ones. Blocks. *map is null unless HOSTMAP_OK; give it
   to hostmap_close.
   HOSTMAP_NO_SERVER, HOSTMAP_OTHER_VERSION, HOSTMAP_PERMISSION, HOSTMAP_FULL (no connection, memory, descriptor or address space
   left), HOSTMAP_INVALID, HOSTMAP_TIMEOUT, HOSTMAP_INTERNAL (damaged memory). */
int hostmap_connect(const hostmap_options* options, hostmap_map** map);
/* Ends the connection and does not block. The server still applies queued writes; those that it refuses are not reported. In a
   child after fork: leaves the parent's connection untouched. Null does nothing. */
void hostmap_close(hostmap_map* map);
/* Changes the timeout of later calls on this map: nanoseconds; 0: 5 seconds; below 0: none. */
int hostmap_set_timeout(hostmap_map* map, int64_t timeout_ns);
/* Sets a limit for each later call of this thread, on any map, in place of the map's timeout: nanoseconds; below 0: none;
   0: the map's timeout again. Returns the limit that this replaces, so that a block of calls can have its own. */
int64_t hostmap_set_limit(int64_t timeout_ns);

/* ---- Reading: from the table, without a message or system call (except one stat(2) a second) ---- */

/* Copies the value to `buffer` and its size to *value_size. HOSTMAP_BUFFER_TOO_SMALL: *value_size is the size that is needed,
   and the content of the buffer is unspecified. Allocates nothing. Blocks only for queued writes of this map to the same lane,
   and after 64 attempts that were disturbed by writers. `value_size` may be null if HOSTMAP_OK is all that matters. */
int hostmap_get(hostmap_map* map, const void* key, size_t key_size, void* buffer, size_t buffer_size,
                size_t* value_size);
/* The value in memory of its own, for hostmap_free, with a zero byte behind it. *value is null unless HOSTMAP_OK. */
int hostmap_get_copy(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size);
/* Frees what a function of this library returned for it. Null does nothing. */
void hostmap_free(void* value);
/* HOSTMAP_OK if the key is present, HOSTMAP_NOT_FOUND if it is absent. */
int hostmap_exists(hostmap_map* map, const void* key, size_t key_size);
/* How long the key still lives: milliseconds, at least 1, or HOSTMAP_FOREVER. */
int hostmap_ttl(hostmap_map* map, const void* key, size_t key_size, int64_t* ttl_ms);
/* The values of `count` keys, one behind the other in `buffer`; values[i] is the result of keys[i], with the status that
   hostmap_get would have returned. Faster than single calls, because their accesses to memory overlap. Not a snapshot.
   HOSTMAP_BUFFER_TOO_SMALL: some values did not fit; each of them has this status and its size, the others are there. *used is
   what all of them need together. HOSTMAP_OK if no other error than HOSTMAP_NOT_FOUND occurred, else the first one. A call that
   is refused as a whole: see "Several at once". */
int hostmap_multi_get(hostmap_map* map, const hostmap_bytes* keys, size_t count, hostmap_value* values, void* buffer,
                      size_t buffer_size, size_t* used);
/* The number of keys; exact while nobody writes. */
int hostmap_size(hostmap_map* map, uint64_t* keys);

/* ---- Writing: each blocks until the server has answered, and the change is then visible to all processes ---- */

/* Sets the key to the value. It then stays until it is erased. */
int hostmap_put(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size);
/* The same; the key ends `ttl_ms` after this call: it is then absent to everybody. */
int hostmap_put_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                    int64_t ttl_ms);
/* Like hostmap_put_ttl, but blocks only until the ring has room. Later calls on this map see the value. If the server refuses
   the write, the next hostmap_flush reports it. HOSTMAP_TIMEOUT: not queued. */
int hostmap_put_async(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size);
int hostmap_put_async_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                          int64_t ttl_ms);
/* Blocks until the server has applied all queued writes of this map. Returns the first error among them since the last flush;
   hostmap_message() has their number. HOSTMAP_CLOSED: the connection ended before; the writes queued on it may or may not be
   applied. HOSTMAP_TIMEOUT: not all are applied yet; flush again. */
int hostmap_flush(hostmap_map* map);
/* Sets the key only if it is absent, else HOSTMAP_ALREADY_EXISTS. */
int hostmap_insert(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size);
int hostmap_insert_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                       int64_t ttl_ms);
/* Sets the key only if it is present, else HOSTMAP_NOT_FOUND. */
int hostmap_replace(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size);
int hostmap_replace_ttl(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                        int64_t ttl_ms);
/* Removes the key; HOSTMAP_NOT_FOUND if it was absent. */
int hostmap_erase(hostmap_map* map, const void* key, size_t key_size);
/* Lets a present key live for `ttl_ms` from now on; HOSTMAP_FOREVER: until it is erased. HOSTMAP_NOT_FOUND if it is absent. */
int hostmap_expire(hostmap_map* map, const void* key, size_t key_size, int64_t ttl_ms);
/* The same, but blocks only until the ring has room; an absent key is not reported. */
int hostmap_expire_async(hostmap_map* map, const void* key, size_t key_size, int64_t ttl_ms);
/* Appends bytes to the value; an absent key counts as an empty value. *value_size, which may be null: the new size. */
int hostmap_append(hostmap_map* map, const void* key, size_t key_size, const void* more, size_t more_size,
                   uint64_t* value_size);
/* Removes each key that begins with `prefix` (1 byte or more). *erased, which may be null: how many this call has removed, also
   if it failed on the way. Takes time in proportion to the whole table. */
int hostmap_erase_prefix(hostmap_map* map, const void* prefix, size_t prefix_size, uint64_t* erased);
/* Removes every key, atomically for all readers. */
int hostmap_clear(hostmap_map* map);

/* ---- Numbers ---- */

/* Adds `by` to the number that the value is: decimal text, such as "-17". An absent key counts as 0. *number, which may be
   null: the new number. HOSTMAP_NOT_A_NUMBER, HOSTMAP_OVERFLOW (64 bits). */
int hostmap_increment(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t* number);
/* The same; an absent key counts as `initial`, and the key that the call then creates lives for `ttl_if_new_ms`
   (HOSTMAP_FOREVER: until it is erased). A present key keeps its end. */
int hostmap_increment_from(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t initial,
                           int64_t ttl_if_new_ms, int64_t* number);
/* The same for a double, stored as the shortest decimal text that is read as the same double. */
int hostmap_increment_double(hostmap_map* map, const void* key, size_t key_size, double by, double initial,
                             int64_t ttl_if_new_ms, double* number);
/* The same for numbers whose 8 bytes are the value, in the machine's order. HOSTMAP_MISMATCH: the value has not 8 bytes. */
int hostmap_increment_stored(hostmap_map* map, const void* key, size_t key_size, int64_t by, int64_t initial,
                             int64_t ttl_if_new_ms, int64_t* number);
int hostmap_increment_stored_double(hostmap_map* map, const void* key, size_t key_size, double by, double initial,
                                    int64_t ttl_if_new_ms, double* number);

/* ---- Changes that depend on the value ---- */

/* Sets the key to `desired` if its value equals `expected`; else HOSTMAP_MISMATCH, or HOSTMAP_NOT_FOUND if it is absent. The key
   keeps its end. */
int hostmap_compare_exchange(hostmap_map* map, const void* key, size_t key_size, const void* expected,
                             size_t expected_size, const void* desired, size_t desired_size);
/* Removes the key if its value equals `expected`; else as above. */
int hostmap_compare_erase(hostmap_map* map, const void* key, size_t key_size, const void* expected,
                          size_t expected_size);
/* The value as hostmap_get_copy returns it, and its token: a digest of the value and of the moment when the key ends. */
int hostmap_get_with_token(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size,
                           hostmap_token* token);
/* Sets or removes the key if it still has the value and the end that the token is of; else HOSTMAP_MISMATCH, or HOSTMAP_NOT_FOUND
   if it is absent. With a token of zeroes, put_if sets the key only if it is absent (else HOSTMAP_ALREADY_EXISTS). */
int hostmap_put_if(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                   const hostmap_token* token);
int hostmap_erase_if(hostmap_map* map, const void* key, size_t key_size, const hostmap_token* token);
/* Sets the key, and returns the value that this replaced, as hostmap_get_copy does. *old is null, and *old_size 0, if the key was
   absent. HOSTMAP_TIMEOUT also when others changed the key in every attempt: nothing was changed then. */
int hostmap_exchange(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                     void** old, size_t* old_size);
/* Removes the key, and returns the value that it had; HOSTMAP_NOT_FOUND if it was absent. */
int hostmap_take(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size);
/* Sets the key if it is absent, and then returns HOSTMAP_OK; else HOSTMAP_ALREADY_EXISTS, and its value as hostmap_get_copy does
   (*present is null in all other cases). */
int hostmap_insert_or_get(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                          void** present, size_t* present_size);

/* ---- Several at once: a call that is refused as a whole (HOSTMAP_INVALID) gives this status to each of its items, unless the place
   for the results is null, or `count` is more than memory can hold; then nothing is written ---- */

/* Each with its own status, many on the way together; statuses[i] is that of pairs[i] or keys[i]. Returns HOSTMAP_OK if each is
   HOSTMAP_OK or HOSTMAP_NOT_FOUND, else the first other one. Not a transaction. */
int hostmap_multi_put(hostmap_map* map, const hostmap_pair* pairs, size_t count, int32_t* statuses);
int hostmap_multi_put_ttl(hostmap_map* map, const hostmap_pair* pairs, size_t count, int64_t ttl_ms, int32_t* statuses);
int hostmap_multi_erase(hostmap_map* map, const hostmap_bytes* keys, size_t count, int32_t* statuses);

/* Of hostmap_operation.kind. */
enum {
  HOSTMAP_OP_PUT = 0,
  HOSTMAP_OP_INSERT = 1,
  HOSTMAP_OP_ERASE = 2,
  HOSTMAP_OP_COMPARE_EXCHANGE = 3,
  HOSTMAP_OP_INCREMENT = 4,
  HOSTMAP_OP_GET = 5,
  HOSTMAP_OP_PUT_IF = 6,
  HOSTMAP_OP_ERASE_IF = 7,
  HOSTMAP_OP_APPEND = 8,
  HOSTMAP_OP_REPLACE = 9,
  HOSTMAP_OP_EXPIRE = 10,
  HOSTMAP_OP_INCREMENT_DOUBLE = 11,
  HOSTMAP_OP_INCREMENT_STORED = 12,
  HOSTMAP_OP_INCREMENT_STORED_DOUBLE = 13
};

typedef struct hostmap_operation {
  uint32_t kind;
  uint32_t reserved; /* 0 */
  hostmap_bytes key;
  hostmap_bytes value;    /* of COMPARE_EXCHANGE the new one; of APPEND what is appended */
  hostmap_bytes expected; /* of COMPARE_EXCHANGE */
  int64_t by;             /* of increments; of doubles, their 8 bytes */
  int64_t initial;        /* likewise: what an absent key counts as */
  hostmap_token token;    /* of PUT_IF and ERASE_IF */
  /* Of PUT, INSERT, REPLACE, EXPIRE: above 0, or HOSTMAP_FOREVER; of PUT and REPLACE also HOSTMAP_KEEP_TTL; of increments: of a
     new key. */
  int64_t ttl_ms;
} hostmap_operation;

typedef struct hostmap_outcome {
  int32_t status;
  uint32_t reserved;
  int64_t number; /* of increments: the new number, or the 8 bytes of the double; of APPEND: the new size */
  void* value;    /* of a GET that succeeded: its value, for hostmap_free, with a zero byte behind it; otherwise null */
  size_t value_size;
} hostmap_outcome;

/* Sends `count` operations, many of them at once, and waits for their answers: outcomes[i] is that of operations[i]. Each
   succeeds or fails by itself; those of one key are applied in their order. Not a transaction. HOSTMAP_OK if each operation has
   an outcome of its own; otherwise what ended the batch, which is also the status of all operations without an answer. */
int hostmap_apply(hostmap_map* map, const hostmap_operation* operations, size_t count, hostmap_outcome* outcomes);

/* ---- Scanning ---- */

/* Begins a scan of all keys that begin with `prefix`, in no order. `keys_only` other than 0: values are not copied. Sees each key
   that is present during the whole scan, and none twice; a key that is added, changed or removed meanwhile may or may not be
   seen. Takes time in proportion to the whole table. *scan is null unless HOSTMAP_OK; give it to hostmap_scan_end before the map
   is closed. */
int hostmap_scan_begin(hostmap_map* map, const void* prefix, size_t prefix_size, int keys_only, hostmap_scan** scan);
/* The next key and its value; HOSTMAP_NOT_FOUND behind the last one. Both stay valid until the next call with this scan. With
   `keys_only`, *value is null and *value_size 0. `value` and `value_size` may be null. After another error the call can be
   repeated. */
int hostmap_scan_next(hostmap_scan* scan, const void** key, size_t* key_size, const void** value, size_t* value_size);
/* Frees the scan. Null does nothing. */
void hostmap_scan_end(hostmap_scan* scan);

/* ---- Waiting, leases, values that one process computes for all ---- */

/* Sleeps until the value of the key is another one than `known` (a null pointer: known to be absent), for at most `timeout_ns`
   (0 checks once; below 0: no limit), whatever the timeout of the map is. HOSTMAP_OK: *value is the new value, as hostmap_get_copy
   returns it. HOSTMAP_NOT_FOUND: the key has become absent. HOSTMAP_TIMEOUT: nothing changed. Changes that follow each other
   quickly may be seen as one. Many can wait at no cost for anybody. */
int hostmap_wait(hostmap_map* map, const void* key, size_t key_size, const void* known, size_t known_size,
                 int64_t timeout_ns, void** value, size_t* value_size);
/* Takes the lease of a key for `length_ms`: a permission that one holder at a time has, in all processes, and that does not
   protect the key itself. It ends when it is released, after its time, and when this map is closed or its process dies.
   *number, for hostmap_release, is larger than that of all earlier leases of this key. Sleeps for at most `patience_ns` (0: not at
   all; below 0: no limit) until it is free, then HOSTMAP_ALREADY_EXISTS. */
int hostmap_lease(hostmap_map* map, const void* key, size_t key_size, int64_t length_ms, int64_t patience_ns,
                  uint64_t* number);
/* Releases it. HOSTMAP_NOT_FOUND: this map does not hold it any more. */
int hostmap_release(hostmap_map* map, const void* key, size_t key_size, uint64_t number);
/* The value of a key, or the task to compute it for everybody. HOSTMAP_OK: *value is the value, as hostmap_get_copy returns it,
   and *number is 0. HOSTMAP_NOT_FOUND: it is absent and this caller alone is to compute it within `lease_ms`; *number is not 0:
   call hostmap_compute_put or hostmap_compute_fail with it. Other callers sleep until then, for at most the map's
   timeout and `lease_ms`; if the computation fails, it gets the status of that failure. HOSTMAP_FULL: this map has too many
   leases, or the server has no room for another client; in the first case compute the value and store it by hostmap_insert or
   hostmap_insert_ttl. */
int hostmap_compute_begin(hostmap_map* map, const void* key, size_t key_size, int64_t lease_ms, void** value,
                          size_t* value_size, uint64_t* number);
/* Stores the value that was computed, if the key is still absent, and wakes all who wait. HOSTMAP_ALREADY_EXISTS: somebody else
   has stored one meanwhile. The task has ended, whatever this returns. */
int hostmap_compute_put(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                        int64_t ttl_ms, uint64_t number);
/* Ends the task without a value: all who wait get `status`, which is not HOSTMAP_OK. */
int hostmap_compute_fail(hostmap_map* map, const void* key, size_t key_size, int status, uint64_t number);

/* ---- About errors and versions: these do not block ---- */

/* The sentence that belongs to a status. Never null. */
const char* hostmap_describe(int status);
/* The name of a status as it is spelled in this header: "HOSTMAP_NOT_FOUND"; "HOSTMAP_?" for an unknown one. */
const char* hostmap_status_name(int status);
/* What this thread's last call that failed has to say: one sentence. Valid until its next call. Never null. */
const char* hostmap_message(void);
/* Of the library that is loaded, which may be newer than this header: "0.2.0", the layout of memory that its servers must have,
   and the commit that it was built from. */
const char* hostmap_version(void);
uint32_t hostmap_layout(void);
const char* hostmap_commit(void);

/* declarations */
#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
