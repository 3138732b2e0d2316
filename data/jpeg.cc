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

// A progressive file may hold any number of scans over all of its pixels; encoders write ten.
constexpr int kMaxScans = 50;

struct Decoder {
  jpeg_decompress_struct info{};
  jpeg_progress_mgr progress{};
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

void WatchScans(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  auto* decoder = static_cast<Decoder*>(info->client_data);
  std::snprintf(decoder->message, sizeof decoder->message, "more than %d scans", kMaxScans);
  std::longjmp(decoder->jump, 1);
}

// The coefficients of all blocks, which a file of several scans keeps until the last of them.
uint64_t CoefficientBytes(Decoder& d) {
  if (!jpeg_has_multiple_scans(&d.info)) return 0;
  uint64_t bytes = 0;
  for (int i = 0; i < d.info.num_components; ++i) {
    const jpeg_component_info& part = d.info.comp_info[i];
    bytes += uint64_t{part.width_in_blocks} * part.height_in_blocks * sizeof(JBLOCK);
  }
  return bytes;
}

// Reads the header and starts; false where the library reported an error.
bool Begin(Decoder& d, std::string_view bytes) {
  if (setjmp(d.jump) != 0) return false;
  jpeg_create_decompress(&d.info);
  d.info.client_data = &d;
  d.progress.progress_monitor = WatchScans;
  d.info.progress = &d.progress;
  jpeg_mem_src(&d.info, reinterpret_cast<const unsigned char*>(bytes.data()),
               static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&d.info, TRUE);
  const bool cmyk = d.info.jpeg_color_space == JCS_CMYK || d.info.jpeg_color_space == JCS_YCCK;
  d.info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_calc_output_dimensions(&d.info);
  return true;
}

// a * b / 255, rounded.
int Scale(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Inks are taken for inverted, as Adobe's programs store them, whether they say so or not.
void CmykToRgb(const uint8_t* in, uint8_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i, in += 4, out += 3) {
    const int paper = in[3];
    for (size_t c = 0; c < 3; ++c) {
      out[c] = static_cast<uint8_t>(paper - Scale(255 - in[c], paper));
    }
  }
}

// `cmyk` is a row of inks where the file holds such, else null.
bool ReadRows(Decoder& d, Image& image, uint8_t* cmyk) {
  if (setjmp(d.jump) != 0) return false;
  jpeg_start_decompress(&d.info);
  while (d.info.output_scanline < d.info.output_height) {
    uint8_t* const pixels = image.row(static_cast<int>(d.info.output_scanline));
    JSAMPROW row = cmyk != nullptr ? cmyk : pixels;
    jpeg_read_scanlines(&d.info, &row, 1);
    if (cmyk != nullptr) CmykToRgb(cmyk, pixels, d.info.output_width);
  }
  jpeg_finish_decompress(&d.info);
  return true;
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
  CheckBudget(d.info.output_width, d.info.output_height, CoefficientBytes(d));
  Image image;
  image.width = static_cast<int>(d.info.output_width);
  image.height = static_cast<int>(d.info.output_height);
  image.pixels.resize(static_cast<size_t>(image.width) * image.height * 3);
  std::vector<uint8_t> cmyk;
  if (d.info.out_color_space == JCS_CMYK) cmyk.resize(static_cast<size_t>(image.width) * 4);
  if (!ReadRows(d, image, cmyk.empty() ? nullptr : cmyk.data())) {
    throw std::runtime_error(d.message);
  }
  return image;
}

}  // namespace contrail::data
