/* What depends on the machine: the table of kernels for this CPU, forks, after which OpenMP must not be entered, and
 * advice about large pages. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#endif
#include <string.h>

#include "isa/kernels.h"

#ifdef _OPENMP
#include <omp.h>
#endif

extern const struct fo_kernels fo_kernels_baseline;
#ifdef FASTOPT_X86_KERNELS
extern const struct fo_kernels fo_kernels_avx2, fo_kernels_avx512;
static const struct fo_kernels *const built[] = {&fo_kernels_baseline, &fo_kernels_avx2, &fo_kernels_avx512};
#else
static const struct fo_kernels *const built[] = {&fo_kernels_baseline};
#endif
enum { N_BUILT = sizeof built / sizeof built[0] };

static const struct fo_kernels *in_use = &fo_kernels_baseline;
static int forks; /* how many forks lie between this process and the one that loaded the library */

const struct fo_kernels *fo_kernels(void) { return in_use; }
bool fo_forked(void) { return forks > 0; }
int fo_forks(void) { return forks; }
const char *fo_isa_name(int index) { return index < N_BUILT ? built[index]->isa : NULL; }

bool fo_isa_runs(int index)
{
#ifdef FASTOPT_X86_KERNELS
    /* These builtins ask the operating system too: it must save the wide registers. */
    __builtin_cpu_init();
    if (index == 1)
        return __builtin_cpu_supports("avx2");
    if (index == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#endif
    return index == 0;
}

bool fo_select(const char *isa)
{
    for (int i = 0; i < N_BUILT; i++)
        if (strcmp(isa, built[i]->isa) == 0 && fo_isa_runs(i)) {
            in_use = built[i];
            return true;
        }
    return false;
}

#if !defined(_WIN32)
static void child_of_fork(void) { forks++; }
#endif

/* CPUs before Ice Lake and Zen 4 lower their clock for AVX-512, so they use AVX2; VBMI2 tells them apart. */
static bool preferred(int index)
{
#ifdef FASTOPT_X86_KERNELS
    return index != 2 || __builtin_cpu_supports("avx512vbmi2");
#else
    (void)index;
    return true;
#endif
}

int fo_init(void (*report)(void))
{
    fo_init_threads(report);
    for (int i = 0; i < N_BUILT; i++)
        if (fo_isa_runs(i) && preferred(i))
            in_use = built[i];
#if !defined(_WIN32)
    return pthread_atfork(NULL, NULL, child_of_fork) == 0 ? 0 : -1;
#else
    return 0;
#endif
}

const char *fo_openmp_runtime(void)
{
#if defined(_OPENMP) && !defined(_WIN32)
    Dl_info info;
    int (*probe)(void) = omp_get_max_threads;
    void *address;
    memcpy(&address, &probe, sizeof address);
    return dladdr(address, &info) != 0 ? info.dli_fname : "unknown";
#elif defined(_OPENMP)
    return "unknown";
#else
    return NULL;
#endif
}

void fo_huge_pages(void *memory, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
    enum { PAGE = 4096 };
    const uintptr_t start = ((uintptr_t)memory + PAGE - 1) / PAGE * PAGE,
                    end = ((uintptr_t)memory + bytes) / PAGE * PAGE;
    if (start < end)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE); /* may fail: small pages work as well */
#else
    (void)memory, (void)bytes;
#endif
}
