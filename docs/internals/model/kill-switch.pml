/*
 * The kill switch as a protocol between instances with a lease, the control store, killers and a restorer.
 * README.md beside this file lists the code for each step, what the model leaves out, and which variants must fail.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The clock may tick between any two steps, so any step may be delayed by any amount of time. That covers an instance
 * under SIGSTOP, one cut off from the store, a slow network, and a store that is down.
 */

/* Size of the world; -D overrides it. */
#ifndef INSTANCES
#define INSTANCES 2             /* at most 3 */
#endif
#ifndef LEASE
#define LEASE 2                 /* in ticks of the clock */
#endif
#ifndef KILLERS
#define KILLERS 1               /* at most 2; each throws its own switch, once */
#endif
#ifndef HEIRS
#define HEIRS 0                 /* at most 1; finds the switch thrown, and waits too */
#endif
#ifndef RESTORES
#define RESTORES 0
#endif
#ifndef SERVING
#define SERVING INSTANCES       /* instances that get requests, one at a time */
#endif

#define all(x) (x(0) && (INSTANCES < 2 || x(1)) && (INSTANCES < 3 || x(2)))
#define A 0                     /* killers, and their rows in the table of switches */
#define B 1
#define HEIR 2

/* ---- The control store. What one step changes here is one durable transaction. ---- */
byte epoch;                     /* raised by every change */
bool thrown[2];                 /* the switches of A and B, both for the blocked key */
bool registered[3];             /* a row in the table of instances */
byte acknowledged[3];           /* in that row: the epoch whose switches its gate applies */
#define blocked (thrown[A] || thrown[B])
byte fresh[3];                  /* ticks until the row is old enough to be removed (REAPER) */
bool dismissed[3];              /* taken for dead, until it registers again (ATTACKER) */
byte apart[3];                  /* ticks until a dismissed instance is removed (ATTACKER) */

/* ---- An instance is a process with one event loop. ---- */
mtype = { IDLE, ASKED, ANSWERED, RUNNING, WAITING, HANDED };
byte lease[3];                  /* ticks for which the gate stays open; 0: expired, or closed by a switch */
byte seen[3];                   /* epoch of the switches in the gate; the next poll carries it */
mtype poll[3] = IDLE;
byte grant[3];                  /* the lease that the current poll will grant; it already runs */
byte answer[3];                 /* the epoch in the response that has not arrived yet */
mtype request[3] = IDLE;
byte stray;                     /* acknowledgement in transit, from a poll that instance 0 gave up; 0: none */

/* ---- What the killers know. ---- */
byte timer[3];                  /* ticks until every earlier lease must have ended */
bool revoked;                   /* a killer printed `revoked`, and nothing was restored since */

#ifdef LEASE_FROM_ANSWER        /* mutant: the lease counts from the response */
#define GRANTED LEASE
#else
#define GRANTED grant[i]
#endif

#ifdef PAUSE_WHILE_SENDING      /* limit: suspended between the second check and the system call, without GUARDED */
#define instant(i) true
#else
#define instant(i) (request[i] != HANDED)
#endif

#ifdef GUARDED                  /* when the last lease ends, the kernel drops unsent responses */
byte guard[3];                  /* ticks until then; a switch that closes the gate does not change it */
#define arm(i) guard[i] = GRANTED
#define fire(i) countDown(guard[i]); if :: guard[i] == 0 && request[i] == HANDED -> request[i] = IDLE :: else fi
#else
#define arm(i) skip
#define fire(i) skip
#endif

#ifdef ACK_IN_SAME_TURN         /* mutant: acknowledges while responses wait in this turn's queues */
#define turned(i) true
#else
#define turned(i) (request[i] != HANDED)
#endif

/* Drops a response that is waiting and is no longer allowed. */
inline cut(i) { if :: request[i] == WAITING -> request[i] = IDLE :: else fi }

#ifdef WAITS_PAST_LEASE         /* mutant: a response that is waiting when a lease ends is sent later */
#define endOfLease(i) skip
#else
#define endOfLease(i) if :: lease[i] == 0 -> cut(i) :: else fi
#endif

proctype Instance(byte i) {
  do
  /* The monotonic clock is read before the poll is sent. */
  :: d_step { poll[i] == IDLE && turned(i) -> grant[i] = LEASE; poll[i] = ASKED }

  /* The store registers the instance, records the acknowledgement, and responds with the epoch and the switches. */
  :: d_step { poll[i] == ASKED ->
       registered[i] = true;
#ifdef ATTACKER                 /* can write to the database without a key; registrations are sealed, rows authenticated */
       dismissed[i] = false; apart[i] = 0;
#endif
#ifdef REAPER
       fresh[i] = LEASE;
#endif
#ifdef ACK_BEFORE_CLOSED        /* mutant: an epoch counts as acknowledged once the store has sent it */
       acknowledged[i] = epoch;
#else
       acknowledged[i] = seen[i];
#endif
       answer[i] = epoch;
       if :: blocked -> grant[i] = 0 :: else fi;
       poll[i] = ANSWERED }

  /* The gate applies the response in one tick of the event loop. */
  :: d_step { poll[i] == ANSWERED ->
       seen[i] = answer[i];
       if :: grant[i] > 0 -> lease[i] = GRANTED; arm(i) :: else -> lease[i] = 0; cut(i) fi;
       grant[i] = 0; answer[i] = 0; poll[i] = IDLE }

  /* The response is lost or too late: connection cut, store restarted, deadline passed. */
  :: d_step { poll[i] == ANSWERED -> grant[i] = 0; answer[i] = 0; poll[i] = IDLE }

  /* The instance gives up a poll that the store may still process later, with an old acknowledgement. */
  :: d_step { i == 0 && poll[i] == ASKED && seen[i] > 0 && stray == 0 ->
       stray = seen[i]; grant[i] = 0; poll[i] = IDLE }
  :: d_step { i == 0 && stray > 0 -> acknowledged[i] = stray; stray = 0 }

#ifdef REAPER
#ifdef REAPED_EARLY             /* mutant: a row is removed while its lease may still run */
  :: d_step { registered[i] -> registered[i] = false; fresh[i] = 0 }
#else
  :: d_step { registered[i] && fresh[i] == 0 -> registered[i] = false }
#endif
#endif

#ifdef ATTACKER
  /* An acknowledgement that is deleted, falsified or restored to an older one counts as silence. */
  :: d_step { acknowledged[i] > 0 -> acknowledged[i] = 0 }
#ifdef FORGED_ACK               /* mutant: a row without its authentication code is trusted */
  :: d_step { acknowledged[i] < epoch -> acknowledged[i] = epoch }
#endif
#ifdef GONE_IS_LEFT             /* mutant: the killer does not wait for an instance whose row is missing */
  :: d_step { registered[i] -> registered[i] = false }
#endif
  /* Heartbeats can be hidden, so a live instance may be dismissed at any time. Its next poll sees that change. */
  :: d_step { registered[i] && !dismissed[i] -> dismissed[i] = true; apart[i] = LEASE }
#ifdef SILENCE_IS_DEATH         /* mutant: a silent instance is removed at once */
  :: d_step { registered[i] && dismissed[i] -> registered[i] = false; dismissed[i] = false; apart[i] = 0 }
#else
  :: d_step { registered[i] && dismissed[i] && apart[i] == 0 -> registered[i] = false; dismissed[i] = false }
#endif
#endif

  /* A request: first check, operation, second check and hand-over in one tick; then the bytes leave. */
  :: d_step { i < SERVING && request[i] == IDLE && lease[i] > 0 ->
       assert(!revoked); request[i] = RUNNING }
#ifdef NO_SECOND_CHECK          /* mutant */
  :: d_step { request[i] == RUNNING -> request[i] = HANDED }
#else
  :: d_step { request[i] == RUNNING && lease[i] > 0 -> request[i] = HANDED }
  :: d_step { request[i] == RUNNING && lease[i] == 0 -> request[i] = IDLE }
#endif
  /* A response waits if its peer does not read or another one is ahead, and is then sent without another check. */
  :: d_step { request[i] == RUNNING && lease[i] > 0 -> request[i] = WAITING }
  :: d_step { request[i] == WAITING -> request[i] = HANDED }
  :: d_step { request[i] == HANDED ->
       assert(!revoked);
#ifdef SERVES_AGAIN             /* reachable: a success after a restore */
       assert(seen[i] <= KILLERS);
#endif
       request[i] = IDLE }
  od
}

inline countDown(ticks) { if :: ticks > 0 -> ticks-- :: else fi }

/* All monotonic clocks run at the same rate. */
proctype Clock() {
  byte i;
  do
  :: d_step { all(instant) ->
       do
       :: i < INSTANCES -> countDown(lease[i]); endOfLease(i); fire(i); countDown(grant[i]); countDown(fresh[i]); countDown(apart[i]); i++
       :: else -> break
       od;
       countDown(timer[A]); countDown(timer[B]); countDown(timer[HEIR]);
       i = 0 }
#ifdef CLOCK_STOPS              /* limit: the hosts of the instances are suspended, and their clocks stop */
  :: d_step { all(instant) ->
       countDown(timer[A]); countDown(timer[B]); countDown(timer[HEIR]) }
#endif
  od
}

#ifdef NO_WAIT                  /* mutant: an instance that does not acknowledge is taken for dead */
#define over(i) true
#else
#define over(i) (timer[k] == 0)
#endif
#ifdef ANY_ACK                  /* mutant: an acknowledgement of any epoch counts */
#define heard(i) (acknowledged[i] > 0)
#else
#define heard(i) (acknowledged[i] >= mine)
#endif
#ifdef LIST_BEFORE_COMMIT       /* mutant: the table of instances is read before the commit */
#define listed(i) (list[i])
#else
#define listed(i) (registered[i])
#endif
#define settled(i) (!listed(i) || heard(i) || over(i))
#ifdef ONE_IS_ENOUGH            /* mutant: the killer waits for the first instance, not for every one */
#define everyone(x) (x(0) || (INSTANCES > 1 && x(1)))
#else
#define everyone(x) all(x)
#endif

/* A killer may die, or stop permanently, at each `goto end`. */
proctype Killer(byte k) {
  byte mine;
#ifdef LIST_BEFORE_COMMIT
  bool list[3];
  d_step { list[0] = registered[0]; list[1] = registered[1]; list[2] = registered[2] };
#endif
#ifdef WAIT_FROM_REQUEST        /* mutant: the wait counts from before the commit */
  timer[k] = LEASE;
#endif
#ifdef TWO_TRANSACTIONS         /* mutant: the epoch is raised before the switch is written */
  d_step { epoch++; mine = epoch };
  thrown[k] = true;
#else
  d_step { thrown[k] = true; epoch++; mine = epoch };
#endif
  if
#ifdef WAIT_FROM_REQUEST
  :: true
#else
  :: timer[k] = LEASE           /* after the commit */
#endif
  :: goto end
  fi;
  if
#ifdef IGNORES_RESTORE          /* mutant: prints `revoked` although its switch is gone */
  :: d_step { everyone(settled) -> revoked = blocked }
#else
  :: d_step { thrown[k] && everyone(settled) -> revoked = true;
#ifdef REVOKES                  /* reachable: a killer prints `revoked` */
       assert(false)
#endif
     }
#if RESTORES > 0
  :: !thrown[k]                 /* reports that the switch was lifted in the meantime */
#endif
#endif
  :: goto end
  fi;
end:
  atomic { timer[k] = 0; mine = 0 }
}

#if HEIRS > 0
/* Finds a switch whose killer may have died since, and waits for it independently. */
proctype Heir() {
  byte k = HEIR;
  byte mine;
  d_step { thrown[A] -> mine = epoch };
#ifdef HEIR_TRUSTS              /* mutant: assumes that an existing switch is already effective */
  d_step { thrown[A] -> revoked = true };
#else
  timer[k] = LEASE;
  if
  :: d_step { thrown[A] && everyone(settled) -> revoked = true;
#ifdef HEIR_REVOKES             /* reachable: an heir prints `revoked` too */
       assert(false)
#endif
     }
#if RESTORES > 0
  :: !thrown[A]
#endif
  fi;
#endif
  d_step { timer[k] = 0; mine = 0 }
}
#endif

#if RESTORES > 0
proctype Restorer() {
  byte n;
end:
  do
  :: d_step { n < RESTORES && blocked ->
       n++; thrown[A] = false; thrown[B] = false; epoch++; revoked = false }
  od
}
#endif

#ifdef OLD_BACKUP               /* limit: the store is restored to a state before the kill */
proctype Backup() {
  d_step { blocked -> thrown[A] = false; thrown[B] = false; epoch = 0 }
}
#endif

init {
  byte i;
  atomic {
    /* Instance 0 may be new and register itself; the others are registered. */
    registered[1] = true; registered[2] = true;
    if :: true :: registered[0] = true fi;
    do :: i < INSTANCES -> run Instance(i); i++ :: else -> break od;
    run Clock();
    run Killer(A);
#if KILLERS > 1
    run Killer(B);
#endif
#if HEIRS > 0
    run Heir();
#endif
#if RESTORES > 0
    run Restorer();
#endif
#ifdef OLD_BACKUP
    run Backup();
#endif
  }
}
