#pragma once
// What the fuzz targets share. A target is one file NAME_fuzz.cc with LibFuzzer's entry; it ends
// the process where bytes from outside do more than be read or be refused. Its first inputs lie in
// corpus/NAME. Run one for longer: build/asan/bin/NAME_fuzz -max_total_time=600 corpus/NAME

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "common/error.h"

namespace contrail::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the process with the broken promise's name, which LibFuzzer reports with its input.
inline void Require(bool condition, const char* promise) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// Calls `read`, which may refuse what it reads as the user's mistake and in no other way: whatever
// else it throws leaves here and is a finding.
template <typename Read>
void ReadOrRefuse(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUser) throw;
    Require(std::string_view(error.what()).find('\n') == std::string_view::npos,
            "a message is one line");
  }
}

// A file of this process in memory, for readers that want a path. Removed at the end.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& name)
      : path_("/dev/shm/contrail-fuzz." + std::to_string(getpid()) + "." + name) {}
  ~ScratchFile() { unlink(path_.c_str()); }

  const std::string& path() const { return path_; }
  const std::string& Write(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_;
  }

 private:
  std::string path_;
};

}  // namespace contrail::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
