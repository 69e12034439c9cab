/* Advice to the operating system about large arrays. Allocates nothing. */
#include "runtime/dispatch.h"

#if !defined(_WIN32)
#include <sys/mman.h>
#endif

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
