// Decoding, resizing and cropping against Pillow and torchvision, byte for byte.

#include "data/image.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <stdexcept>

#include "common/strings.h"
#include "data/resize.h"
#include "data/transform.h"
#include "tests/data/helpers.h"

namespace contrail::data {
namespace {

using testing::HasSubstr;

std::string Bytes(const Image& image) { return {image.pixels.begin(), image.pixels.end()}; }

// The largest difference of two pictures' bytes; 256 where their sizes differ.
int Difference(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return 256;
  int worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst,
                     std::abs(static_cast<unsigned char>(a[i]) - static_cast<unsigned char>(b[i])));
  }
  return worst;
}

class ImageReference : public ScratchTest {};

TEST_F(ImageReference, ResizesLikePillow) {
  struct Case {
    int w, h, to_w, to_h;
  };
  const std::vector<Case> cases = {{28, 28, 28, 28},     {28, 28, 32, 32},     {28, 28, 224, 224},
                                   {640, 480, 298, 224}, {480, 640, 224, 298}, {500, 375, 224, 224},
                                   {333, 777, 224, 522}, {225, 224, 224, 224}, {224, 300, 224, 224},
                                   {1, 1, 5, 7},         {3, 2, 2, 3},         {1000, 10, 7, 224},
                                   {37, 1201, 16, 9},    {17, 19, 17, 40},     {300, 600, 224, 440},
                                   {300, 600, 224, 448}, {100, 60, 150, 59}};
  std::vector<std::string> arguments{Path("")};
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    Write(std::to_string(i) + ".raw", Bytes(NoisePicture(c.w, c.h, i)));
    arguments.push_back(std::to_string(c.w) + "," + std::to_string(c.h) + "," +
                        std::to_string(c.to_w) + "," + std::to_string(c.to_h));
  }
  Python(R"(
import sys
from PIL import Image
for i, case in enumerate(sys.argv[2:]):
    w, h, to_w, to_h = map(int, case.split(","))
    image = Image.frombytes("RGB", (w, h), open(f"{sys.argv[1]}{i}.raw", "rb").read())
    open(f"{sys.argv[1]}{i}.out", "wb").write(image.resize((to_w, to_h), Image.BICUBIC).tobytes())
)",
         arguments);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const Image ours = ResizeBicubic(NoisePicture(c.w, c.h, i), c.to_w, c.to_h);
    ResizePortably(true);
    EXPECT_EQ(Bytes(ResizeBicubic(NoisePicture(c.w, c.h, i), c.to_w, c.to_h)), Bytes(ours));
    ResizePortably(false);
    EXPECT_EQ(Difference(Bytes(ours), Contents(std::to_string(i) + ".out")), 0) << "case " << i;
  }
}

TEST_F(ImageReference, CentreTransformIsOpenClips) {
  const std::vector<std::pair<int, int>> sizes = {{28, 28},   {300, 224}, {224, 301}, {640, 427},
                                                  {427, 640}, {100, 99},  {33, 200},  {224, 224}};
  std::vector<std::string> arguments{Path("")};
  for (size_t i = 0; i < sizes.size(); ++i) {
    Write(std::to_string(i) + ".raw", Bytes(NoisePicture(sizes[i].first, sizes[i].second, i)));
    arguments.push_back(std::to_string(sizes[i].first) + "," + std::to_string(sizes[i].second));
  }
  Python(R"(
import sys
import numpy
from PIL import Image
from open_clip.transform import image_transform
transform = image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
for i, case in enumerate(sys.argv[2:]):
    size = tuple(map(int, case.split(",")))
    image = Image.frombytes("RGB", size, open(f"{sys.argv[1]}{i}.raw", "rb").read())
    planar = (transform(image) * 255).round().numpy().astype(numpy.uint8)
    open(f"{sys.argv[1]}{i}.out", "wb").write(planar.tobytes())
)",
         arguments);
  for (size_t i = 0; i < sizes.size(); ++i) {
    RandomStream draws(0, 0, 0);
    const Image square = Transform(NoisePicture(sizes[i].first, sizes[i].second, i),
                                   CropKind::kCenter, 224, 0.9, draws);
    std::string planar(3 * 224 * 224, '\0');
    ToPlanar(square, reinterpret_cast<uint8_t*>(planar.data()));
    EXPECT_EQ(Difference(planar, Contents(std::to_string(i) + ".out")), 0) << "case " << i;
  }
}

// Every kind of file Pillow can write here, decoded to RGB.
TEST_F(ImageReference, DecodesLikePillow) {
  Write("a.raw", Bytes(NoisePicture(67, 45, 1)));
  const std::string listing = Python(R"(
import sys
import numpy
from PIL import Image
folder = sys.argv[1]
rgb = Image.frombytes("RGB", (67, 45), open(folder + "a.raw", "rb").read())
alpha = rgb.convert("L").point(lambda v: 255 - v)
rgba = rgb.copy(); rgba.putalpha(alpha)
gray_alpha = Image.merge("LA", (rgb.convert("L"), alpha))
files = {}
def save(name, image, **options):
    image.save(folder + name, **options)
    Image.open(folder + name).convert("RGB").tobytes()
    files[name] = Image.open(folder + name).convert("RGB").tobytes()
save("rgb.png", rgb)
save("gray.png", rgb.convert("L"))
save("bits.png", rgb.convert("1"))
save("palette.png", rgb.convert("P", palette=Image.ADAPTIVE, colors=200))
save("palette4.png", rgb.convert("P", palette=Image.ADAPTIVE, colors=12), bits=4)
save("transparent.png", rgb.convert("P", palette=Image.ADAPTIVE, colors=64), transparency=3)
save("rgba.png", rgba)
save("gray_alpha.png", gray_alpha)
save("colour_key.png", rgb, transparency=(1, 2, 3))
for quality in (50, 75, 95):
    save(f"q{quality}.jpg", rgb, quality=quality)
save("444.jpg", rgb, subsampling=0)
save("422.jpg", rgb, subsampling=1)
save("progressive.jpg", rgb, progressive=True)
save("gray.jpg", rgb.convert("L"))
save("cmyk.jpg", rgb.convert("CMYK"))
for name, pixels in files.items():
    open(folder + name + ".out", "wb").write(pixels)
    print(name)
)",
                                     {Path("")});
  std::vector<std::string> names = Split(listing, '\n');
  names.pop_back();
  ASSERT_EQ(names.size(), 17u);
  for (const std::string& name : names) {
    const Image image = DecodeImage(Contents(name), name);
    EXPECT_EQ(image.width, 67);
    EXPECT_EQ(image.height, 45);
    EXPECT_EQ(Difference(Bytes(image), Contents(name + ".out")), 0) << name;
  }
}

// 16 bits of colour keep their high byte, interlacing changes nothing.
TEST_F(ImageReference, SixteenBitAndInterlacedPng) {
  Python(R"(
import sys, struct, zlib
def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
def png(width, height, depth, colour, rows, interlace=0):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))
rgb = struct.pack(">6H", 0x0102, 0x80ff, 0xfffe, 0x1234, 0x00ff, 0x7f80)
open(sys.argv[1] + "rgb16.png", "wb").write(png(2, 1, 16, 2, [rgb]))
# Adam7, 2 x 2: passes 1, 6 and 7 hold (0,0), (1,0) and the second row.
open(sys.argv[1] + "adam7.png", "wb").write(png(2, 2, 8, 0, [b"\x0a", b"\x14", b"\x1e\x28"], 1))
)",
         {Path("")});
  EXPECT_EQ(Bytes(DecodeImage(Contents("rgb16.png"), "")),
            std::string("\x01\x80\xff\x12\x00\x7f", 6));
  EXPECT_EQ(Bytes(DecodeImage(Contents("adam7.png"), "")),
            "\x0a\x0a\x0a\x14\x14\x14\x1e\x1e\x1e\x28\x28\x28");
}

// What Pillow's own writer does not make: files cut behind their pixels, foreign chunks and
// markers, 16-bit gray, moving WebP. Each is made by hand, read by Pillow and by us.
TEST_F(ImageReference, DecodesOddFilesLikePillow) {
  Write("a.raw", Bytes(NoisePicture(67, 45, 1)));
  const std::string listing = Python(R"(
import io, struct, sys, zlib
import numpy as np
from PIL import Image
folder = sys.argv[1]
rgb = Image.frombytes("RGB", (67, 45), open(folder + "a.raw", "rb").read())
pixels = np.asarray(rgb)
h, w = pixels.shape[:2]
def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (crc or 0))
def png(depth, colour, rows, crc=None, end=True, extra=b""):
    head = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows) + extra)
    half = len(data) // 2
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data[:half], crc) +
            chunk(b"IDAT", data[half:], crc) + (chunk(b"IEND", b"") if end else b""))
def encoded(image, kind, **options):
    out = io.BytesIO(); image.save(out, kind, **options); return out.getvalue()
def without(jpeg, marker):
    at, out = 2, jpeg[:2]
    while jpeg[at + 1] != 0xda:
        size = 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        if jpeg[at + 1] != marker: out += jpeg[at:at + size]
        at += size
    return out + jpeg[at:]
gray = np.linspace(0, 65535, w * h).reshape(h, w)
rows = [row.tobytes() for row in pixels]
whole = png(8, 2, rows)
cmyk = Image.fromarray(np.dstack([pixels, pixels[..., :1] // 2]), "CMYK")
alpha = rgb.copy(); alpha.putalpha(rgb.convert("L"))
seen_through = alpha.copy(); seen_through.paste((9, 200, 30, 0), (0, 0, 20, 20))
frames = [rgb.rotate(90 * i).convert("RGBA") for i in range(1, 3)]
files = {
    "gray16.png": png(16, 0, [row.tobytes() for row in gray.astype(">u2")]),
    "gray16_dark.png": png(16, 0, [row.tobytes() for row in (gray / 200).astype(">u2")]),
    "gray_alpha16.png": png(16, 4, [row.tobytes() for row in np.dstack([gray, gray[::-1]]).astype(">u2")]),
    "no_end.png": png(8, 2, rows, end=False),
    "end_cut.png": whole[:-5],
    "last_check_cut.png": png(8, 2, rows, end=False)[:-3],
    "checks_wrong.png": png(8, 2, rows, crc=1),
    "more_rows.png": png(8, 2, rows, extra=b"\0" * 500),
    "foreign_end.png": whole[:-12] + chunk(b"tEXt", b"k\0v"),
    "cmyk_adobe.jpg": encoded(cmyk, "JPEG", quality=90),
    "cmyk_plain.jpg": without(encoded(cmyk, "JPEG", quality=90), 0xee),
    "lossy.webp": encoded(rgb, "WEBP", quality=70),
    "lossy_best.webp": encoded(rgb, "WEBP", quality=100, method=6),
    "lossless.webp": encoded(rgb, "WEBP", lossless=True),
    "alpha.webp": encoded(alpha, "WEBP", quality=80),
    "alpha_lossless.webp": encoded(seen_through, "WEBP", lossless=True, exact=True),
    "alpha_zero.webp": encoded(seen_through, "WEBP", quality=80),
    "moving.webp": encoded(alpha, "WEBP", save_all=True, append_images=frames, duration=50),
    "a_webp.png": encoded(rgb, "WEBP"),
    "a_png.jpg": encoded(rgb, "PNG"),
    "a_jpeg.webp": encoded(rgb, "JPEG"),
}
for name, data in files.items():
    open(folder + name, "wb").write(data)
    open(folder + name + ".out", "wb").write(Image.open(folder + name).convert("RGB").tobytes())
    print(name)
)",
                                     {Path("")});
  std::vector<std::string> names = Split(listing, '\n');
  names.pop_back();
  ASSERT_EQ(names.size(), 21u);
  for (const std::string& name : names) {
    const Image image = DecodeImage(Contents(name), name);
    EXPECT_EQ(Difference(Bytes(image), Contents(name + ".out")), 0) << name;
  }
}

TEST_F(ImageReference, BrokenFilesAreNamedWithTheirCause) {
  Write("a.raw", Bytes(NoisePicture(64, 64, 1)));
  Python(R"(
import sys
from PIL import Image
image = Image.frombytes("RGB", (64, 64), open(sys.argv[1] + "a.raw", "rb").read())
image.save(sys.argv[1] + "a.jpg"); image.save(sys.argv[1] + "a.png")
)",
         {Path("")});
  const std::string jpeg = Contents("a.jpg");
  const std::string png = Contents("a.png");
  const auto message = [](const std::string& bytes) {
    return MessageOf([&] { DecodeImage(bytes, "pairs-000.tar/000123"); });
  };
  for (const size_t size :
       {size_t{4}, size_t{30}, jpeg.size() / 3, jpeg.size() / 2, jpeg.size() - 20}) {
    EXPECT_THAT(message(jpeg.substr(0, size)),
                HasSubstr("E-DATA-IMAGE: pairs-000.tar/000123: undecodable image: "))
        << size;
  }
  for (const size_t size : {size_t{8}, size_t{30}, png.size() / 2, png.size() - 40}) {
    EXPECT_THAT(message(png.substr(0, size)), HasSubstr("the file is truncated")) << size;
  }
  std::string flipped = png;
  flipped[png.size() / 2] = static_cast<char>(flipped[png.size() / 2] ^ 0x55);
  EXPECT_THAT(message(flipped), HasSubstr("E-DATA-IMAGE: pairs-000.tar/000123"));
  EXPECT_THAT(message(""), HasSubstr("the file is empty"));
  EXPECT_THAT(message("GIF89a..."), HasSubstr("nor a WebP but a GIF picture"));
  EXPECT_THAT(message("<!DOCTYPE html><html>404"), HasSubstr("but an HTML page"));
  EXPECT_THAT(message("RIFF\x10\0\0\0WEBPVP8 "), HasSubstr("undecodable image"));
  EXPECT_THAT(message("\xff\xd8\xff\xd9"), HasSubstr("undecodable image"));
  // Dimensions no memory should be asked for: 30,000 x 30,000 in the header.
  std::string huge = png;
  huge.replace(16, 8, std::string("\x00\x00\x75\x30\x00\x00\x75\x30", 8));
  EXPECT_THAT(message(huge), HasSubstr("undecodable image"));
}

// A progressive file of 640 kB may hold 400 scans over all of its pixels: a minute of work.
TEST_F(ImageReference, APictureMayNotCostMoreThanItsBudget) {
  Write("a.raw", Bytes(NoisePicture(64, 64, 1)));
  Python(R"(
import io, sys
from PIL import Image
image = Image.frombytes("RGB", (64, 64), open(sys.argv[1] + "a.raw", "rb").read())
out = io.BytesIO(); image.save(out, "JPEG", progressive=True)
jpeg = out.getvalue()
scan = jpeg[jpeg.rindex(b"\xff\xda"):-2]
open(sys.argv[1] + "ten.jpg", "wb").write(jpeg[:-2] + scan * 10 + b"\xff\xd9")
open(sys.argv[1] + "many.jpg", "wb").write(jpeg[:-2] + scan * 60 + b"\xff\xd9")
)",
         {Path("")});
  EXPECT_EQ(DecodeImage(Contents("ten.jpg"), "").width, 64);
  EXPECT_THAT(MessageOf([&] { DecodeImage(Contents("many.jpg"), "k"); }),
              HasSubstr("E-DATA-IMAGE: k: undecodable image: more than 50 scans"));
  EXPECT_NO_THROW(CheckBudget(13377, 13377, 0));
  EXPECT_THROW(CheckBudget(13378, 13378, 0), std::runtime_error);
  EXPECT_THROW(CheckBudget(10000, 10000, kMaxDecodeBytes - 1000), std::runtime_error);
}

// The square is the one of the whole resized picture, whatever is left uncomputed.
TEST(Transform, OnlyWhatTheCropSeesIsComputedAndItIsTheSame) {
  const std::pair<int, int> sizes[] = {{640, 427}, {427, 640}, {33, 900}, {900, 33},
                                       {224, 301}, {3, 500},   {500, 31}, {90, 2000}};
  for (const auto& [width, height] : sizes) {
    const Image image = NoisePicture(width, height, 4);
    const int shorter = std::min(width, height);
    const int w = width <= height ? 32 : 32 * width / shorter;
    const int h = width <= height ? 32 * height / shorter : 32;
    const Image whole = ResizeBicubic(image, w, h);
    for (const int part : {0, 1, 3}) {
      const int left = (w - 32) * part / 3;
      const int top = (h - 32) * part / 3;
      EXPECT_EQ(Bytes(ResizeBicubicPart(image, w, h, left, top, 32)),
                Bytes(Crop(whole, left, top, 32, 32)))
          << width << " x " << height;
    }
  }
}

// 224 x 224,000,000 pixels, were all of it computed: 150 GB.
TEST(Transform, AVeryLongPictureCostsNoMoreThanItsSquare) {
  for (const bool tall : {true, false}) {
    for (const CropKind crop :
         {CropKind::kCenter, CropKind::kRandomSquare, CropKind::kRandomResized}) {
      const Image line = NoisePicture(tall ? 1 : 1'000'000, tall ? 1'000'000 : 1, 1);
      RandomStream draws(1, 2, 3);
      EXPECT_EQ(Transform(line, crop, 224, 0.9, draws).pixels.size(), 3u * 224 * 224);
    }
  }
}

TEST(Transform, RightSizeIsLeftAlone) {
  const Image image = NoisePicture(32, 32, 4);
  RandomStream draws(1, 2, 3);
  EXPECT_EQ(Bytes(Transform(image, CropKind::kCenter, 32, 0.9, draws)), Bytes(image));
  EXPECT_EQ(Bytes(Transform(image, CropKind::kRandomSquare, 32, 0.9, draws)), Bytes(image));
}

TEST(Transform, RandomSquareIsASquareOfTheResizedPicture) {
  const Image image = NoisePicture(64, 48, 4);
  const Image resized = ResizeBicubic(image, 42, 32);
  std::vector<int> seen(11, 0);
  for (uint64_t sample = 0; sample < 300; ++sample) {
    RandomStream draws(1, 0, sample);
    const Image square = Transform(image, CropKind::kRandomSquare, 32, 0.9, draws);
    int matches = 0;
    for (int left = 0; left <= 10; ++left) {
      if (Bytes(Crop(resized, left, 0, 32, 32)) != Bytes(square)) continue;
      ++matches;
      ++seen[static_cast<size_t>(left)];
    }
    ASSERT_EQ(matches, 1);
  }
  for (const int count : seen) EXPECT_GT(count, 5);  // every offset comes up
}

// The box itself is hidden, but the share of the picture it covers is not: a picture whose colour
// is its position tells where a resized box came from.
TEST(Transform, RandomResizedKeepsScaleAndRatio) {
  Image image;
  image.width = 200;
  image.height = 100;
  for (int y = 0; y < 100; ++y) {
    for (int x = 0; x < 200; ++x) {
      image.pixels.push_back(static_cast<uint8_t>(x));
      image.pixels.push_back(static_cast<uint8_t>(2 * y));
      image.pixels.push_back(0);
    }
  }
  double smallest = 1;
  double largest = 0;
  for (uint64_t sample = 0; sample < 300; ++sample) {
    RandomStream draws(3, 1, sample);
    const Image square = Transform(image, CropKind::kRandomResized, 20, 0.3, draws);
    ASSERT_EQ(square.width, 20);
    ASSERT_EQ(square.height, 20);
    // Between the middles of the first and last pixel lie 19/20 of the box.
    const double w = (square.row(10)[18 * 3] - square.row(10)[1 * 3]) * 20.0 / 17.0;
    const double h = (square.row(18)[10 * 3 + 1] - square.row(1)[10 * 3 + 1]) / 2.0 * 20.0 / 17.0;
    const double area = w * h / (200 * 100);
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    EXPECT_GT(area, 0.27);
    EXPECT_LT(area, 0.72);  // a ratio of 4/3 cannot cover more than 2/3 of a 2:1 picture
    EXPECT_GT(w / h, 0.68);
    EXPECT_LT(w / h, 1.42);
  }
  EXPECT_LT(smallest, 0.34);
  EXPECT_GT(largest, 0.55);
}

TEST(Transform, DrawsAreKeyedBySeedEpochAndSample) {
  const Image image = NoisePicture(64, 48, 4);
  const auto crop = [&](uint64_t seed, uint64_t epoch, uint64_t sample) {
    RandomStream draws(seed, epoch, sample);
    return Bytes(Transform(image, CropKind::kRandomResized, 16, 0.5, draws));
  };
  EXPECT_EQ(crop(1, 2, 3), crop(1, 2, 3));
  EXPECT_NE(crop(1, 2, 3), crop(2, 2, 3));
  EXPECT_NE(crop(1, 2, 3), crop(1, 3, 3));
  EXPECT_NE(crop(1, 2, 3), crop(1, 2, 4));
}

TEST(Transform, UnknownCropSuggests) {
  EXPECT_THAT(MessageOf([] { ParseCrop("random-squre"); }),
              testing::AllOf(HasSubstr("E-DATA-CROP"), HasSubstr("'random-square'")));
}

}  // namespace
}  // namespace contrail::data
