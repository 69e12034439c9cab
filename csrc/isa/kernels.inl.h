/* All kernels of one instruction set and their table. Each file of isa/ defines ISA, includes this file and is compiled
 * with its own flags. There are no intrinsics: the compiler vectorizes plain loops of IEEE operations, which give the
 * same bits at every vector width. */
#include <math.h>
#include <string.h>

#include "fastopt.h"
#include "math/loops.h"

#include "optimize/kernels.inl.h"

#include "optimize/conversions.inl.h"

#include "layers/channels.inl.h"
#include "layers/cross_entropy.inl.h"
#include "layers/elementwise.inl.h"
#include "layers/images.inl.h"
#include "layers/mixing.inl.h"
#include "network/network.inl.h"
#include "resample/resample.inl.h"
#include "stump/stump.inl.h"

#define FO_PASTE_(a, b) a##b
#define FO_PASTE(a, b) FO_PASTE_(a, b)
#define FO_TEXT_(a) #a
#define FO_TEXT(a) FO_TEXT_(a)

#define FO_EACH_ENTRY(name) name,
#define FO_IMAGES_ENTRY(name) image_##name,
static const struct fo_layers layers = {{FO_EACH(FO_EACH_ENTRY)},
                                        sum_of_magnitudes,
                                        channel_sums,
                                        normalize,
                                        normalize_back,
                                        scale_channels,
                                        mix,
                                        entropy,
                                        {FO_IMAGES(FO_IMAGES_ENTRY)},
                                        philox_rows,
                                        {resample_sums, resample_places, resample_rows}};

const struct fo_kernels FO_PASTE(fo_kernels_, ISA) = {FO_TEXT(ISA), update,  sum_of_squares, lookahead, widen,
                                                      narrow,       &layers, &network,       &stumps};
