#define ISA baseline
#include "isa/kernels.inl.h"
