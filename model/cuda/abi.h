#pragma once
// What libcontrail_cuda.so exports: plain C, so that it can be loaded by name.

#ifdef __cplusplus
extern "C" {
#endif

struct ContrailCudaDevice {
  char name[256];
  char uuid[48];
  long long memory_bytes;
  int capability;
  int runs_this_build;
};

// Call before anything else in the process uses a device: contexts are reset afterwards.
// Fills at most `capacity` devices. Returns how many there are, or -1 with a text in `problem`.
int ContrailCudaDevices(struct ContrailCudaDevice* out, int capacity, char* problem,
                        int problem_size);
// The architectures this object holds code for, "80 90".
const char* ContrailCudaArchList(void);

#ifdef __cplusplus
}
#endif
