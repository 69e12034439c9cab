/* All kernels of one instruction set and their table. Each file of isa/ defines ISA, includes this file and is compiled
 * with its own flags. There are no intrinsics: the compiler vectorizes plain loops of IEEE operations, which give the
 * same bits at every vector width. */
#include <math.h>
#include <string.h>

#include "isa/kernels.h"
#include "math/loops.h"
#include "runtime/tiles.h"

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
#define FO_FORWARD_ENTRY(name) name##_forward,
#define FO_BACK_ENTRY(name) name##_back,
const struct fo_kernels FO_PASTE(fo_kernels_, ISA) = {
    .isa = FO_TEXT(ISA),
    .update = update,
    .lookahead = lookahead,
    .widen = widen,
    .narrow = narrow,
    .add_squares = add_plain_squares,
    .add_magnitudes = add_magnitudes,
    .each = {FO_EACH(FO_EACH_ENTRY)},
    .sums = channel_sums,
    .channels = {normalize, normalize_back, scale_channels},
    .mix = mix,
    .entropy = entropy,
    .images = {FO_IMAGES(FO_IMAGES_ENTRY)},
    .forward = {FO_ACTIVATIONS(FO_FORWARD_ENTRY)},
    .back = {FO_ACTIVATIONS(FO_BACK_ENTRY)},
    .squares = squares,
    .resample = {resample_sums, resample_places, resample_rows},
    .split = stump_split,
};
