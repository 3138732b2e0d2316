// PNG through libpng. As with JPEG, errors jump; no destructors live where setjmp is called.

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "data/image.h"

namespace contrail::data {
namespace {

struct Context {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::string_view rest;       // reading
  std::string* out = nullptr;  // writing
  char message[160] = {};
};

struct Reader : Context {
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};
struct Writer : Context {
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

[[noreturn]] void OnError(png_structp png, png_const_charp text) {
  auto* context = static_cast<Context*>(png_get_error_ptr(png));
  std::snprintf(context->message, sizeof context->message, "%s", text);
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void ReadBytes(png_structp png, png_bytep to, size_t size) {
  auto* context = static_cast<Context*>(png_get_io_ptr(png));
  if (context->rest.size() < size) png_error(png, "the file is truncated");
  std::memcpy(to, context->rest.data(), size);
  context->rest.remove_prefix(size);
}

void AppendBytes(png_structp png, png_bytep from, size_t size) {
  static_cast<Context*>(png_get_io_ptr(png))->out->append(reinterpret_cast<char*>(from), size);
}

void NoFlush(png_structp) {}

bool ReadHeader(Context& c) {
  if (setjmp(png_jmpbuf(c.png)) != 0) return false;
  png_set_read_fn(c.png, &c, ReadBytes);
  png_read_info(c.png, c.info);
  return true;
}

// True where every row was read, whatever came after it.
bool HasAllRows(const Context& c) {
  if (png_get_interlace_type(c.png, c.info) != PNG_INTERLACE_NONE) {
    constexpr int kPasses = 7;
    return png_get_current_pass_number(c.png) >= kPasses;
  }
  return png_get_current_row_number(c.png) >= png_get_image_height(c.png, c.info);
}

void SetTransforms(Context& c) {
  const int type = png_get_color_type(c.png, c.info);
  const int depth = png_get_bit_depth(c.png, c.info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(c.png);
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(c.png);
  if (depth == 16 && type != PNG_COLOR_TYPE_GRAY) png_set_strip_16(c.png);
  if (type == PNG_COLOR_TYPE_GRAY_ALPHA || (type == PNG_COLOR_TYPE_GRAY && depth < 16)) {
    png_set_gray_to_rgb(c.png);
  }
  png_set_strip_alpha(c.png);
  png_set_interlace_handling(c.png);
}

// The chunks after the pixels are not looked at, nor the check sums of those that hold the pixels:
// the data's own stream tells whether it is whole, and PIL reads such files.
bool ReadPixels(Context& c, png_bytepp rows) {
  if (setjmp(png_jmpbuf(c.png)) != 0) return HasAllRows(c);
  png_set_crc_action(c.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  SetTransforms(c);
  png_read_update_info(c.png, c.info);
  png_read_image(c.png, rows);
  return true;
}

// Two bytes a pixel, big end first, to three: gray of 16 bits is cut at 255, as PIL does it. From
// the row's end to its start, because both forms lie in one place.
void CutGray16(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    uint8_t* row = image.row(y);
    for (size_t x = static_cast<size_t>(image.width); x-- > 0;) {
      const uint8_t value = row[2 * x] != 0 ? 255 : row[2 * x + 1];
      for (size_t i = 0; i < 3; ++i) row[3 * x + i] = value;
    }
  }
}

bool WritePixels(Context& c, int width, int height, int channels, png_bytepp rows) {
  if (setjmp(png_jmpbuf(c.png)) != 0) return false;
  png_set_write_fn(c.png, &c, AppendBytes, NoFlush);
  png_set_IHDR(c.png, c.info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), 8,
               channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(c.png, c.info);
  png_write_image(c.png, rows);
  png_write_end(c.png, nullptr);
  return true;
}

}  // namespace

Image DecodePng(std::string_view bytes) {
  Reader reader;
  reader.rest = bytes;
  Context& c = reader;
  c.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &c, OnError, OnWarning);
  c.info = png_create_info_struct(c.png);
  if (!ReadHeader(c)) throw std::runtime_error(c.message);
  Image image;
  image.width = static_cast<int>(png_get_image_width(c.png, c.info));
  image.height = static_cast<int>(png_get_image_height(c.png, c.info));
  CheckBudget(image.width, image.height, 0);
  image.pixels.resize(static_cast<size_t>(image.width) * image.height * 3);
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (int y = 0; y < image.height; ++y) rows[static_cast<size_t>(y)] = image.row(y);
  if (!ReadPixels(c, rows.data())) throw std::runtime_error(c.message);
  if (png_get_color_type(c.png, c.info) == PNG_COLOR_TYPE_GRAY &&
      png_get_bit_depth(c.png, c.info) == 16) {
    CutGray16(image);
  }
  return image;
}

std::string EncodePng(const uint8_t* pixels, int width, int height, int channels) {
  std::string out;
  Writer writer;
  Context& c = writer;
  c.out = &out;
  c.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &c, OnError, OnWarning);
  c.info = png_create_info_struct(c.png);
  std::vector<png_bytep> rows(static_cast<size_t>(height));
  for (size_t y = 0; y < rows.size(); ++y) {
    rows[y] = const_cast<png_bytep>(pixels) + y * static_cast<size_t>(width * channels);
  }
  if (!WritePixels(c, width, height, channels, rows.data())) throw std::runtime_error(c.message);
  return out;
}

}  // namespace contrail::data
