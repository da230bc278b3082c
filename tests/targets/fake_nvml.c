/* NVML's three functions as its reference declares them, with a GPU whose free memory a test sets. */
#include <string.h>

typedef struct { unsigned long long total, free, used; } nvmlMemory_t;

static unsigned long long free_bytes = 1000ull << 20;
static int refuses = 0;

void fake_set_free_mb(int mb) { free_bytes = (unsigned long long)mb << 20; }
void fake_refuse(int status) { refuses = status; }

int nvmlInit_v2(void) { return 0; }

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    if (strcmp(bus, "0000:3b:00.0") != 0) return 6; /* NVML_ERROR_NOT_FOUND */
    *device = (void *)&free_bytes;
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, nvmlMemory_t *memory) {
    if (refuses) return refuses;
    if (device != (void *)&free_bytes) return 2; /* NVML_ERROR_INVALID_ARGUMENT */
    memory->total = 2000ull << 20;
    memory->free = free_bytes;
    memory->used = memory->total - memory->free;
    return 0;
}
