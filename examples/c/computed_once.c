/* A page that is expensive to render: of all worker processes that miss it at once, one renders it, and the others wait for that.

     hostmap-server --background
     computed_once [NAME]          NAME: of the server's instance */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hostmap/hostmap.h>

#define WORKERS 8
#define LEASE_MS 30000

static const char kPage[] = "page:home";
static const char kRenders[] = "renders";

static int fail(void) {
  fprintf(stderr, "computed_once: %s\n", hostmap_message());
  return 1;
}

static int render(hostmap_map *map, char *html, size_t room) {
  const struct timespec time = {0, 50 * 1000 * 1000};
  nanosleep(&time, NULL);
  snprintf(html, room, "<h1>home</h1>");
  return hostmap_increment(map, kRenders, strlen(kRenders), 1, NULL);
}

/* The page, for hostmap_free; null: hostmap_message() says why. */
static char *page(hostmap_map *map) {
  void *html = NULL;
  size_t size;
  uint64_t task;
  char fresh[256];
  int status = hostmap_compute_begin(map, kPage, strlen(kPage), LEASE_MS, &html, &size, &task);
  if (status == HOSTMAP_OK) return html;
  if (status != HOSTMAP_NOT_FOUND) return NULL;
  /* This process has the task: whatever happens, it ends it. */
  status = render(map, fresh, sizeof fresh);
  if (status != HOSTMAP_OK) {
    hostmap_compute_fail(map, kPage, strlen(kPage), status, task);
    return NULL;
  }
  status = hostmap_compute_put(map, kPage, strlen(kPage), fresh, strlen(fresh), HOSTMAP_FOREVER, task);
  /* Somebody else's page is as good. */
  if (status != HOSTMAP_OK && status != HOSTMAP_ALREADY_EXISTS) return NULL;
  if (hostmap_get_copy(map, kPage, strlen(kPage), &html, &size) != HOSTMAP_OK) return NULL;
  return html;
}

static int work(hostmap_map *map) {
  char *html = page(map);
  if (html == NULL) return fail();
  hostmap_free(html);
  return 0;
}

int main(int argc, char **argv) {
  hostmap_options options = HOSTMAP_OPTIONS_INIT;
  hostmap_map *map;
  const hostmap_bytes keys[] = {{kPage, sizeof kPage - 1}, {kRenders, sizeof kRenders - 1}};
  int32_t statuses[2];
  char renders[32];
  size_t size;
  int worker, ended, failed = 0;

  if (argc > 1) options.name = argv[1];
  if (hostmap_connect(&options, &map) != HOSTMAP_OK) return fail();
  if (hostmap_multi_erase(map, keys, 2, statuses) != HOSTMAP_OK) return fail();
  for (worker = 0; worker < WORKERS; ++worker) {
    pid_t child = fork();
    if (child < 0) return perror("computed_once: fork"), 1;
    /* The child's first call connects anew. */
    if (child == 0) _exit(work(map));
  }
  while (wait(&ended) > 0) failed += ended != 0;
  if (hostmap_get(map, kRenders, strlen(kRenders), renders, sizeof renders, &size) != HOSTMAP_OK) return fail();
  printf("%d workers, %.*s render\n", WORKERS, (int)size, renders);
  hostmap_close(map);
  return failed == 0 ? 0 : 1;
}
