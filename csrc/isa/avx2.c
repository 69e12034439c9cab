#define ISA avx2
#include "isa/kernels.inl.h"
