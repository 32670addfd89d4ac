/* Model: clients and the worker park on futexes, and nobody's wake-up is lost. No timeout anywhere.
 *
 * Modelled: clients that publish requests, ring the bell of a parked worker, and wait for answers
 * or for room (for a position), and the worker that sweeps their lanes, answers, wakes them, and
 * parks. Every store goes through its process's own store buffer and becomes visible some time
 * later, in order; a load sees shared memory. So a store that is followed by a load may seem to come
 * after it, unless a full fence separates them. Client 0 may die at any step, or stop forever;
 * the server may be killed once at any step, and starts again.
 *
 * The rules (RULES names the changes, see park_model.cpp for the cases):
 *   client, new request    publish; full fence; parked? then bell + 1 and wake all, by one call that
 *                          does both (FUTEX_WAKE_OP). Only the worker stores `parked`
 *   client, waiting        wake_at = position; word = 1; full fence; poll again; futex_wait(word, 1);
 *                          start over
 *   worker, sweep          answers and positions of all lanes; one full fence; for each connection
 *                          served whose word is set and whose wake_at is reached: word = 0, wake one
 *   worker, parking        b = bell; parked = 1; full fence; poll every lane, idle ones, too;
 *                          nothing: futex_wait(bell, b); parked = 0
 *   asymmetric             membarrier in place of the worker's fence before it looks; then clients
 *                          need no fence after publishing
 *   new server             parked = 0; word = 0 and wake for every connection, without looking
 *   idle lanes             a lane that was empty drops out of the sweep; one of those is polled in
 *                          each sweep, in turn
 *   hints                  a lane that was empty is marked: idle = 1; it drops out when it is empty
 *                          once more, in a later sweep: between the two is a full fence, that of the
 *                          sweep or that of parking. A client that has published and fenced, and sees
 *                          the mark, sets its hint (FUTEX_WAKE_OP) before it loads `parked`. A sweep
 *                          takes the hint, and the lane is back in it. Nothing is polled in turn
 *
 * A futex call is a full fence of its caller (the kernel's own, before it looks for sleepers); the
 * comparison in futex_wait and going to sleep are one step. A membarrier empties the buffers of the
 * clients one after the other.
 *
 * Simplified: two clients, two requests each, one answered in each sweep; processors that keep the
 * order of stores; the answer is its position. Not here: hostile clients, which can requeue a
 * sleeper (the bounded wait is for them), and spinning before parking, which changes nothing.
 *
 * Checked: when nothing moves any more, every client that lives has been answered and is done; with
 * idle lanes no request is passed over for more sweeps than there are lanes; with hints it is passed
 * over in no sweep once its client has hinted and rung. */

#define CLIENTS  2
#define WORKER   CLIENTS  /* its store buffer */

c_decl {
  \#include <stdlib.h>
  \#include <string.h>
};

/* What the case is about, and the rules that it changes. All false: the protocol, nobody dies. */
bool client_dies, server_is_killed, idle_lanes, membarrier, gives_up;
bool no_client_fence, no_parking_fence, no_waiting_fence, no_sweep_fence;
bool client_clears_parked, parks_without_looking, looks_at_active_only;
bool leaves_words, wake_at_after_word, wake_at_after_look, wakes_too_late;
bool clears_word_after_wake, never_turns;
bool hints, drops_out_at_once, hints_only_if_awake;

/* Shared memory. */
byte request[CLIENTS];   /* published by the client */
byte answered[CLIENTS];  /* by the worker: also the position that it has consumed */
byte word[CLIENTS];      /* 1: the client waits, or is about to */
byte wake_at[CLIENTS];
byte parked;
byte bell;
bool idle[CLIENTS];      /* by the worker */
bool hint[CLIENTS];

#define STORE_REQUEST 0
#define STORE_WORD    1
#define STORE_WAKE_AT 2
#define STORE_PARKED  3
#define STORE_ANSWERED 4
#define STORE_IDLE     5
chan buffer[CLIENTS + 1] = [3] of { byte /* which store */, byte /* lane */, byte /* value */ };

/* Who sleeps on a futex. */
bool worker_sleeps;
bool client_sleeps[CLIENTS];

byte requests[CLIENTS];
bool is_dead;    /* client 0 */
bool is_killed;  /* the first server */
byte passed_over[CLIENTS];
byte told[CLIENTS];  /* so many requests has the client published, and rung and hinted for */

#define FULL_FENCE(who) empty(buffer[who])

/* Stores become visible, one after the other. */
proctype visible(byte owner) {
  byte which, lane, value;
end_nothing_to_store:
  do :: atomic {
    buffer[owner] ? which, lane, value ->
    if :: which == STORE_REQUEST -> request[lane] = value;
             printf("                visible: request[%d] = %d\n", lane, value)
       :: which == STORE_WORD -> word[lane] = value;
             printf("                visible: word[%d] = %d\n", lane, value)
       :: which == STORE_WAKE_AT -> wake_at[lane] = value;
             printf("                visible: wake_at[%d] = %d\n", lane, value)
       :: which == STORE_PARKED -> parked = value;
             printf("                visible: parked = %d\n", value)
       :: which == STORE_IDLE -> idle[lane] = value;
             printf("                visible: idle[%d] = %d\n", lane, value)
       :: which == STORE_ANSWERED -> answered[lane] = value;
             printf("                visible: answered[%d] = %d\n", lane, value)
    fi;
    which = 0; lane = 0; value = 0
  } od
}

proctype client(byte me) {
  byte published, wanted;
  bool has_given_up;

  {
    do :: atomic { published < requests[me] ->
            published++;
            printf("client %d publishes request %d\n", me, published);
            buffer[me] ! STORE_REQUEST, me, published }
          if :: atomic { (no_client_fence || FULL_FENCE(me)) && hints && idle[me] && !(hints_only_if_awake && parked) ->
                  printf("client %d sees that it is idle\n", me) }
                atomic { FULL_FENCE(me) -> hint[me] = true; printf("client %d sets its hint\n", me) }
             :: atomic { (no_client_fence || FULL_FENCE(me)) && !(hints && idle[me] && !(hints_only_if_awake && parked)) -> skip }
          fi;
          atomic { no_client_fence || FULL_FENCE(me) ->
            if :: parked -> printf("client %d sees that the worker parks\n", me)
               :: else -> printf("client %d sees that the worker is awake\n", me); told[me] = published; goto waits
            fi }
          if :: atomic { client_clears_parked -> parked = 0 };
                worker_sleeps = false
             :: atomic { !client_clears_parked ->
                  bell++;
                  worker_sleeps = false;
                  told[me] = published;
                  printf("client %d rings the bell\n", me) }
          fi;
waits:    /* For its answer, or for room, or continues. */
          if :: wanted = published :: wanted = published - 1 :: wanted = 0 fi;
          do :: atomic { answered[me] >= wanted -> wanted = 0; break }
             :: atomic { answered[me] < wanted ->
                  if :: !wake_at_after_word && !wake_at_after_look ->
                          buffer[me] ! STORE_WAKE_AT, me, wanted
                     :: else
                  fi;
                  buffer[me] ! STORE_WORD, me, 1;
                  if :: wake_at_after_word -> buffer[me] ! STORE_WAKE_AT, me, wanted
                     :: else
                  fi }
                atomic { no_waiting_fence || FULL_FENCE(me) ->
                  if :: answered[me] >= wanted ->
                          printf("client %d polls again: answered\n", me);
                          wanted = 0;
                          break
                     :: else -> printf("client %d polls again: nothing\n", me)
                  fi;
                  if :: wake_at_after_look -> buffer[me] ! STORE_WAKE_AT, me, wanted
                     :: else
                  fi }
                atomic { FULL_FENCE(me) ->
                  if :: word[me] == 1 ->
                          client_sleeps[me] = true; printf("client %d sleeps\n", me)
                     :: else
                  fi }
                if :: !client_sleeps[me]
                   :: atomic { client_sleeps[me] && gives_up && !has_given_up ->
                        has_given_up = true;  /* at its deadline */
                        client_sleeps[me] = false;
                        printf("client %d gives up\n", me);
                        goto waits }
                fi
          od
       :: atomic { published == requests[me] -> break }
    od
  } unless {
    atomic { me == 0 && is_dead -> printf("client 0 is DEAD\n") }
  }
}

/* What the worker does in its own memory counts as one step with the load or store beside it. */
inline sweep_lane(lane) {
  atomic {
    if :: hints && hint[lane] ->
            hint[lane] = false;
            if :: !is_active[lane] -> is_active[lane] = true; is_marked[lane] = false; buffer[WORKER] ! STORE_IDLE, lane, 0
               :: else
            fi
       :: else
    fi;
    if :: !idle_lanes || is_active[lane] || (lane == turn && !never_turns && !hints) ->
            passed_over[lane] = 0;
            if :: request[lane] > done[lane] ->
                    done[lane]++;
                    is_active[lane] = true; is_served[lane] = true; has_work = true;
                    if :: is_marked[lane] -> is_marked[lane] = false; buffer[WORKER] ! STORE_IDLE, lane, 0 :: else fi;
                    printf("worker answers %d of client %d\n", done[lane], lane);
                    buffer[WORKER] ! STORE_ANSWERED, lane, done[lane]
               :: else ->
                    if :: hints && !is_marked[lane] ->
                            is_marked[lane] = true;
                            buffer[WORKER] ! STORE_IDLE, lane, 1;
                            is_active[lane] = !drops_out_at_once
                       :: else -> is_active[lane] = false
                    fi
            fi
       :: else ->
            if :: request[lane] > done[lane] && (!hints || told[lane] > done[lane]) ->
                    passed_over[lane]++;
                    assert(passed_over[lane] <= (hints -> 0 : CLIENTS))  /* or the lane starves */
               :: else
            fi
    fi
  }
}

inline wake_lane(lane) {
  if :: atomic { is_served[lane] && word[lane] == 1 -> is_served[lane] = false };
        if :: atomic { wake_at[lane] + wakes_too_late <= done[lane] ->
                if :: !clears_word_after_wake -> buffer[WORKER] ! STORE_WORD, lane, 0 :: else fi };
              atomic { FULL_FENCE(WORKER) ->
                client_sleeps[lane] = false;
                printf("worker wakes client %d\n", lane) }
              if :: clears_word_after_wake -> buffer[WORKER] ! STORE_WORD, lane, 0 :: else fi
           :: else
        fi
     :: atomic { else -> is_served[lane] = false }
  fi
}

inline look_before_parking(lane) {
  atomic {
    if :: !parks_without_looking && request[lane] > done[lane] &&
          !(looks_at_active_only && !is_active[lane]) ->
            is_active[lane] = true; has_work = true;
            if :: is_marked[lane] -> is_marked[lane] = false; buffer[WORKER] ! STORE_IDLE, lane, 0 :: else fi
       :: else
    fi
  }
}

inline wake_after_restart(lane) {
  done[lane] = answered[lane];
  if :: !leaves_words -> buffer[WORKER] ! STORE_WORD, lane, 0 :: leaves_words fi;
  if :: hints -> buffer[WORKER] ! STORE_IDLE, lane, 0 :: else fi;
  atomic { FULL_FENCE(WORKER) -> client_sleeps[lane] = false; printf("new server wakes %d\n", lane) }
}

proctype worker() {
  byte turn, seen_bell;
  byte done[CLIENTS];  /* in the journal */
  bool is_active[CLIENTS], is_served[CLIENTS];
  bool has_work, has_restarted;
  bool is_marked[CLIENTS];

start:
  {
    atomic { is_active[0] = hints; is_active[1] = hints };
    if :: has_restarted -> wake_after_restart(0); wake_after_restart(1)
       :: else
    fi;
sweep:
    sweep_lane(0);
    sweep_lane(1);
    atomic {
      turn = (turn + 1) % CLIENTS;
      if :: has_work -> has_work = false :: else -> goto parking fi
    }
    no_sweep_fence || FULL_FENCE(WORKER);
    wake_lane(0);
    wake_lane(1);
    goto sweep;

parking:
    atomic { seen_bell = bell; buffer[WORKER] ! STORE_PARKED, 0, 1; printf("worker parks\n") }
    no_parking_fence || FULL_FENCE(WORKER);
    if :: membarrier -> FULL_FENCE(0); FULL_FENCE(1) :: else fi;
    look_before_parking(0);
    look_before_parking(1);
    if :: has_work -> has_work = false
       :: else ->
            printf("worker finds nothing\n");
            if :: atomic { client_clears_parked && parked == 1 -> worker_sleeps = true }
               :: atomic { !client_clears_parked && bell == seen_bell -> worker_sleeps = true }
               :: else
            fi;
end_worker_sleeps:
            !worker_sleeps
    fi;
    atomic { seen_bell = 0; buffer[WORKER] ! STORE_PARKED, 0, 0 }
    goto sweep
  } unless {
    atomic {
      is_killed && !has_restarted ->
      printf("server is KILLED\n");
      has_restarted = true; worker_sleeps = false;
      turn = 0; seen_bell = 0; has_work = false;
      is_marked[0] = false; is_marked[1] = false; is_served[0] = false; is_served[1] = false
    }
    atomic { FULL_FENCE(WORKER) -> buffer[WORKER] ! STORE_PARKED, 0, 0; goto start }
  }
}

/* At any time, or never. */
proctype fate() {
end_or_never:
  do :: atomic { client_dies && !is_dead -> is_dead = true }
     :: atomic { server_is_killed && !is_killed -> is_killed = true }
  od
}

proctype monitor() {
  byte lane;
  timeout ->
  for (lane : 0 .. CLIENTS - 1) {
    assert(answered[lane] == request[lane] || (lane == 0 && is_dead))  /* or a request is lost */
  }
}

init {
  c_code {
    const char* rules = getenv("RULES");
    if (rules == NULL) rules = "";
#define RULE(name) now.name = strstr(rules, #name) != NULL
    RULE(client_dies);
    RULE(server_is_killed);
    RULE(idle_lanes);
    RULE(membarrier);
    RULE(gives_up);
    RULE(no_client_fence);
    RULE(no_parking_fence);
    RULE(no_waiting_fence);
    RULE(no_sweep_fence);
    RULE(client_clears_parked);
    RULE(parks_without_looking);
    RULE(looks_at_active_only);
    RULE(leaves_words);
    RULE(wake_at_after_word);
    RULE(wake_at_after_look);
    RULE(wakes_too_late);
    RULE(clears_word_after_wake);
    RULE(never_turns);
    RULE(hints);
    RULE(drops_out_at_once);
    RULE(hints_only_if_awake);
    const char* requests = strstr(rules, "requests=");  /* requests=2,1: of client 0, of client 1 */
    now.requests[0] = requests == NULL ? 2 : requests[9] - '0';
    now.requests[1] = requests == NULL ? 1 : requests[11] - '0';
  };
  atomic {
    byte owner;
    for (owner : 0 .. CLIENTS) { run visible(owner) }
    for (owner : 0 .. CLIENTS - 1) { run client(owner) }
    owner = 0;
    run worker();
    run fate();
    run monitor()
  }
}
