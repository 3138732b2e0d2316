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

// For tests: true makes the loops for any processor run where the AVX2 ones would.
void ResizePortably(bool portable);

// A copy of a box, inside the picture.
Image Crop(const Image& image, int left, int top, int width, int height);

}  // namespace contrail::data
