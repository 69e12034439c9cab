/* Teams of threads: how a job is shared out over them, and how long a team is smaller than was asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { FO_MOST_THREADS = 4096 };

struct fo_team {
    int part, of;  /* this thread's number, and the number of threads */
    double waited; /* seconds that this thread spent in fo_meet */
    bool claims;   /* threads take shares one by one, so that a late thread leaves its shares to the others */
};

typedef void fo_share(void *job, struct fo_team *team);
typedef void fo_work(const void *job, int64_t from, int64_t to);

void fo_init_threads(void (*report)(void)); /* see fo_init */
/* How many of `threads` the calling thread may use: not more than OpenMP allows it, and one in a child of fork() and
 * within a parallel region of another library. */
int fo_allowed_threads(int threads);
/* Calls share(job, team) once on each thread of a team of at most `threads`. */
void fo_share_out(fo_share *share, void *job, int threads);
/* Calls work(job, from, to) on the threads of a team, whose ranges divide [0, units) into nearly equal parts. */
void fo_share_units(fo_work *work, const void *job, int64_t units, int threads);
/* A barrier: returns when every thread of the team has called it. */
void fo_meet(struct fo_team *team);

/* The first of `units` that belongs to this part: parts differ by one unit at most. */
static inline int64_t fo_share_begin(int64_t units, int part, int of)
{
    const int64_t more = units % of;
    return units / of * part + (part < more ? part : more);
}

/* The back-off, which threads.c explains. Only threads.c and tests call these functions. */
int fo_team_size(int threads); /* the size of the next team, when `threads` are asked for; counts the job */
/* Reports a job: its seconds, the least seconds that a thread of its team worked, the size of that team, and whether
 * the team was smaller than was asked for. */
void fo_report_job(double total, double least, int of, bool reduced);
bool fo_set_backoff(bool on); /* switches the back-off and forgets past failures; returns the old setting */
