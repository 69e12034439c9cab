#define ISA baseline
#include "kernels.h"
