/* The state of the process: the instruction set in use, the number of threads, and forks. */
#pragma once

#include "fastopt.h"

/* Returns 0, or −1 if a fork guard could not be set. `report` is called once, when a thread cannot be started. */
int fo_init(void (*report)(void));
const struct fo_api *fo_get_api(void);     /* the table of functions */
const struct fo_kernels *fo_kernels(void); /* the kernels in use: isa/kernels.h */
bool fo_select(const char *isa);           /* false if this build or this CPU lacks it */
const char *fo_isa_name(int index);        /* those of this build, the narrowest first; then NULL */
bool fo_isa_runs(int index);               /* whether this CPU has it */
bool fo_forked(void);                      /* whether this is a child of fork(), which must not enter OpenMP */
int fo_forks(void);
const char *fo_openmp_runtime(void); /* path of the library, or NULL without OpenMP */
void fo_huge_pages(void *memory, size_t bytes);
int fo_num_threads(void); /* the number of threads that the process asks for; 1 until it is set */
void fo_set_num_threads(int threads);
