#include "data/file_kind.h"

#include <cctype>

namespace contrail::data {
namespace {

struct Magic {
  std::string_view bytes;
  std::string_view kind;
};
constexpr Magic kMagics[] = {
    {"\x1f\x8b", "a gzip file"},
    {"PK\x03\x04", "a zip archive"},
    {"BZh", "a bzip2 file"},
    {"\xfd\x37zXZ", "an xz file"},
    {"\x28\xb5\x2f\xfd", "a zstd file"},
    {"7z\xbc\xaf\x27\x1c", "a 7-zip archive"},
    {"Rar!\x1a\x07", "a RAR archive"},
    {"PAR1", "a Parquet file"},
    {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
    {"version https://git-lfs", "a Git LFS pointer, whose file was never fetched (git lfs pull)"},
    {"\xff\xd8\xff", "a JPEG picture"},
    {"\x89PNG\r\n\x1a\n", "a PNG picture"},
    {"GIF8", "a GIF picture"},
    {"BM", "a BMP picture"},
    {"II*", "a TIFF picture"},
    {std::string_view("MM\0*", 4), "a TIFF picture"},
    {"8BPS", "a Photoshop picture"},
    {"\xff\x0a", "a JPEG XL picture"},
    {"%PDF", "a PDF document"},
    {std::string_view("\0\x05\x16\x07", 4), "a Macintosh resource fork (._ file)"},
};

// The start of a text without its white space and case: enough to know a page by.
bool StartsAsText(std::string_view head, std::string_view word) {
  size_t at = head.starts_with("\xef\xbb\xbf") ? 3 : 0;
  while (at < head.size() && std::isspace(static_cast<unsigned char>(head[at]))) ++at;
  if (head.size() - at < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(head[at + i])) != word[i]) return false;
  }
  return true;
}

}  // namespace

std::string_view KindOfBytes(std::string_view head) {
  for (const Magic& magic : kMagics) {
    if (head.starts_with(magic.bytes)) return magic.kind;
  }
  if (head.starts_with("RIFF") && head.substr(0, 12).ends_with("WEBP")) return "a WebP picture";
  if (head.size() >= 12 && head.substr(4, 4) == "ftyp") {
    const std::string_view brand = head.substr(8, 4);
    return brand.starts_with("avi")                              ? "an AVIF picture"
           : brand.starts_with("he") || brand.starts_with("mif") ? "a HEIC picture"
                                                                 : "a video";
  }
  if (StartsAsText(head, "<!doctype html") || StartsAsText(head, "<html")) return "an HTML page";
  if (StartsAsText(head, "<?xml") || StartsAsText(head, "<error")) return "an XML document";
  if (StartsAsText(head, "<svg")) return "an SVG picture";
  if (StartsAsText(head, "{\"")) return "a JSON text";
  return "";
}

}  // namespace contrail::data
