#define ISA avx512
#include "isa/kernels.inl.h"
