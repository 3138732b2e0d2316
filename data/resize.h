#pragma once
// Pillow's bicubic resize, bit for bit (Pillow src/libImaging/Resample.c): a = -0.5, the kernel
// widened by the scale when shrinking (antialias), a pass along each axis, each in 8-bit fixed
// point with 22 fractional bits and rounding. The horizontal pass comes first unless the height
// shrinks by more than twice as many pixels as the width (Pillow 13; before it, always: very tall
// pictures differ by a few units of the last place). torch's and OpenCV's "bicubic" differ.

#include "data/image.h"

namespace contrail::data {

// The whole picture to width x height; an unchanged size returns the same pixels.
Image ResizeBicubic(const Image& image, int width, int height);

// The box [left, left + box_width) x [top, top + box_height) to width x height, as
// image.crop(box).resize(size) does: nothing outside the box is looked at.
Image ResizeBicubic(const Image& image, int left, int top, int box_width, int box_height, int width,
                    int height);

// What ResizeBicubic(image, width, height) would give in its box [left, left + edge) x
// [top, top + edge), of which only the rows and columns that this box looks at are computed: the
// picture may be a thousand times as long as it is wide.
Image ResizeBicubicPart(const Image& image, int64_t width, int64_t height, int64_t left,
                        int64_t top, int edge);

// For tests: true makes the loops for any processor run where the AVX2 ones would.
void ResizePortably(bool portable);

// A copy of a box, inside the picture.
Image Crop(const Image& image, int left, int top, int width, int height);

}  // namespace contrail::data
