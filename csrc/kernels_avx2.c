#define ISA avx2
#include "kernels.h"
