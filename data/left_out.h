#pragma once
// What lies in a data set and is no sample: counted, so that nobody trains on half of a data set
// without being told.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace contrail::data {

// Kinds of pictures that are passed over; the last is a .jpg, .jpeg, .png or .webp whose name has
// several dots, which webdataset takes for a member of another picture's sample.
inline constexpr std::array<std::string_view, 9> kLeftOutKinds = {
    "gif", "bmp", "tiff", "avif", "heic", "jxl", "jp2", "svg", "dots"};

struct LeftOut {
  uint64_t groups = 0;  // of members, without a picture that is read
  std::array<uint64_t, kLeftOutKinds.size()> pictures{};

  bool Any() const;
  void Add(const LeftOut& other);
};

// True for "jpg", "jpeg", "png", "webp" (lower case).
bool IsPictureExtension(std::string_view extension);

// Counts a member or file where it is a picture that is not read. `extension` is in lower case and
// begins after the first dot of the name.
void CountLeftOut(std::string_view extension, LeftOut& counts);

// "3 groups without a picture, 2 .gif, 16 with several dots in the name"; "" where there is
// nothing.
std::string Describe(const LeftOut& counts);

// As a field of an index, "groups:3,gif:2", and back.
std::string FieldOf(const LeftOut& counts);
bool ParseLeftOut(std::string_view field, LeftOut& counts);

}  // namespace contrail::data
