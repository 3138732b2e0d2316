// JPEG through libjpeg-turbo. Its errors jump out of C code, so everything with a destructor
// lives outside the function that calls setjmp.

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE

#include <jpeglib.h>

#include <jerror.h>

#include <stdexcept>

#include "data/image.h"

namespace contrail::data {
namespace {

struct Decoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jmp_buf jump{};
  char message[JMSG_LENGTH_MAX] = {};

  ~Decoder() { jpeg_destroy_decompress(&info); }
};

[[noreturn]] void Jump(j_common_ptr info) {
  auto* decoder = static_cast<Decoder*>(info->client_data);
  info->err->format_message(info, decoder->message);
  std::longjmp(decoder->jump, 1);
}

// libjpeg pads a truncated file with gray and only warns; other warnings are as harmless here as
// they are to PIL.
void OnMessage(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) {
    info->err->msg_code = JERR_INPUT_EOF;
    Jump(info);
  }
}

void Quiet(j_common_ptr) {}

// Reads the header and starts; false where the library reported an error.
bool Begin(Decoder& d, std::string_view bytes) {
  if (setjmp(d.jump) != 0) return false;
  jpeg_create_decompress(&d.info);
  d.info.client_data = &d;
  jpeg_mem_src(&d.info, reinterpret_cast<const unsigned char*>(bytes.data()),
               static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&d.info, TRUE);
  const bool cmyk = d.info.jpeg_color_space == JCS_CMYK || d.info.jpeg_color_space == JCS_YCCK;
  d.info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_calc_output_dimensions(&d.info);
  return true;
}

bool ReadRows(Decoder& d, uint8_t* pixels, size_t stride) {
  if (setjmp(d.jump) != 0) return false;
  jpeg_start_decompress(&d.info);
  while (d.info.output_scanline < d.info.output_height) {
    JSAMPROW row = pixels + d.info.output_scanline * stride;
    jpeg_read_scanlines(&d.info, &row, 1);
  }
  jpeg_finish_decompress(&d.info);
  return true;
}

// a * b / 255, rounded.
int Scale(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

void CmykToRgb(const uint8_t* in, uint8_t* out, size_t count, bool inverted) {
  for (size_t i = 0; i < count; ++i, in += 4, out += 3) {
    const int paper = inverted ? in[3] : 255 - in[3];
    for (size_t c = 0; c < 3; ++c) {
      const int ink = inverted ? 255 - in[c] : in[c];
      out[c] = static_cast<uint8_t>(paper - Scale(ink, paper));
    }
  }
}

}  // namespace

Image DecodeJpeg(std::string_view bytes) {
  Decoder d;
  d.info.err = jpeg_std_error(&d.errors);
  d.errors.error_exit = Jump;
  d.errors.emit_message = OnMessage;
  d.errors.output_message = Quiet;
  d.info.client_data = &d;
  if (!Begin(d, bytes)) throw std::runtime_error(d.message);
  if (int64_t{d.info.output_width} * d.info.output_height > kMaxPixels) {
    throw std::runtime_error("more than 179 million pixels");
  }
  Image image;
  image.width = static_cast<int>(d.info.output_width);
  image.height = static_cast<int>(d.info.output_height);
  const size_t count = static_cast<size_t>(image.width) * image.height;
  image.pixels.resize(count * 3);
  if (d.info.out_color_space == JCS_RGB) {
    if (!ReadRows(d, image.pixels.data(), static_cast<size_t>(image.width) * 3)) {
      throw std::runtime_error(d.message);
    }
    return image;
  }
  std::vector<uint8_t> cmyk(count * 4);
  if (!ReadRows(d, cmyk.data(), static_cast<size_t>(image.width) * 4)) {
    throw std::runtime_error(d.message);
  }
  // Adobe's programs store inks inverted.
  CmykToRgb(cmyk.data(), image.pixels.data(), count, d.info.saw_Adobe_marker == TRUE);
  return image;
}

}  // namespace contrail::data
