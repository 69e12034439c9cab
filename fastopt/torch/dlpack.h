/* The part of DLPack's C exchange API (https://github.com/dmlc/dlpack, version 1) that reads where a tensor's numbers
 * are. The layouts are those of the standard. Nothing here needs the headers of the library that owns the tensor. */
#ifndef FASTOPT_DLPACK_H
#define FASTOPT_DLPACK_H

#include <stdint.h>

enum fo_dl_code { FO_DL_INT = 0, FO_DL_FLOAT = 2, FO_DL_BFLOAT = 4 };
enum { FO_DL_CPU = 1, FO_DL_MAJOR = 1 };

/* DLTensor. shape and strides, in elements, belong to the tensor and live as long as it does. */
struct fo_dl_tensor {
    char *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};

/* DLPackExchangeAPI. view fills `out` without a copy; it returns 0, or -1 with a Python exception set. */
struct fo_dl_api {
    uint32_t major, minor;
    void *previous;
    void (*allocate)(void), (*managed)(void), (*to_python)(void);
    int (*view)(void *tensor, struct fo_dl_tensor *out);
    void (*stream)(void);
};

#endif
