#define ISA avx512
#include "kernels.h"
