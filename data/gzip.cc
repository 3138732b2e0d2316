#include "data/gzip.h"

#include <zlib.h>

#include <cerrno>
#include <memory>
#include <stdexcept>

#include "common/error.h"

namespace contrail::data {

std::string ReadGzip(const std::string& path, size_t limit) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) throw std::runtime_error(ErrnoText(errno));
  std::string out;
  for (;;) {
    constexpr unsigned kChunk = 1 << 18;
    const size_t at = out.size();
    out.resize(at + kChunk);
    const int got = gzread(file.get(), out.data() + at, kChunk);
    out.resize(at + static_cast<size_t>(got > 0 ? got : 0));
    if (out.size() > limit) throw std::runtime_error("larger than expected");
    if (got == kChunk) continue;
    int code = Z_OK;
    const char* text = gzerror(file.get(), &code);
    if (got < 0 || code == Z_BUF_ERROR) {
      throw std::runtime_error(code == Z_ERRNO       ? ErrnoText(errno)
                               : code == Z_BUF_ERROR ? "the file is cut short"
                                                     : text);
    }
    if (got == 0) return out;
  }
}

}  // namespace contrail::data
