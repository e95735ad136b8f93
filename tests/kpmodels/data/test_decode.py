from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg

from kpmodels.data.decode import BrokenImageError, decode_image, image_size, verify_image

RNG = np.random.default_rng(0)
IMAGE = cv2.resize(RNG.integers(0, 255, (9, 12, 3), np.uint8), (96, 72), interpolation=cv2.INTER_CUBIC)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def jpeg(progressive: int = 0) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    return cv2.imencode(".jpg", IMAGE[..., ::-1], options)[1].tobytes()


class TestDecode:
    def test_png_is_exact_rgb(self) -> None:
        np.testing.assert_array_equal(decode_image(png(IMAGE[..., ::-1])), IMAGE)

    def test_grey_alpha_and_16_bits(self) -> None:
        grey = IMAGE[..., 0]
        np.testing.assert_array_equal(decode_image(png(grey)), np.repeat(grey[..., None], 3, 2))
        with_alpha = np.dstack([IMAGE[..., ::-1], np.full(IMAGE.shape[:2], 7, np.uint8)])
        np.testing.assert_array_equal(decode_image(png(with_alpha)), IMAGE)
        deep = grey.astype(np.uint16) * 257
        np.testing.assert_array_equal(decode_image(png(deep)), np.repeat(grey[..., None], 3, 2))

    def test_jpeg_at_an_eighth(self) -> None:
        assert decode_image(jpeg()).shape == (72, 96, 3)
        assert decode_image(jpeg(), 12, 9).shape == (9, 12, 3)
        assert decode_image(jpeg(), 40, 30).shape == (36, 48, 3)

    def test_jpeg_is_near_the_original(self) -> None:
        assert np.abs(decode_image(jpeg()).astype(int) - IMAGE).mean() < 6

    @pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
    def test_no_image(self, data: bytes) -> None:
        with pytest.raises(BrokenImageError):
            decode_image(data)
        with pytest.raises(BrokenImageError):
            verify_image(data, thorough=False)

    def test_a_size_that_is_only_claimed(self) -> None:
        data = bytearray(png(IMAGE))
        data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
        with pytest.raises(BrokenImageError, match="at most"):
            image_size(bytes(data))


@pytest.mark.parametrize("thorough", [False, True])
class TestVerify:
    @pytest.mark.parametrize("data", [png(IMAGE), jpeg(), jpeg(1), simplejpeg.encode_jpeg(IMAGE), jpeg() + b"trailer"])
    def test_whole(self, data: bytes, thorough: bool) -> None:
        assert verify_image(data, thorough) == image_size(data) == (96, 72)

    def test_other_formats(self, thorough: bool) -> None:
        for suffix in (".bmp", ".tif", ".webp"):
            data = cv2.imencode(suffix, IMAGE)[1].tobytes()
            assert verify_image(data, thorough) == (96, 72)

    @pytest.mark.parametrize("data", [png(IMAGE), jpeg(), jpeg(1)])
    def test_cut_off_anywhere(self, data: bytes, thorough: bool) -> None:
        for length in [*range(1, len(data) - 1, 97), len(data) - 1]:
            with pytest.raises(BrokenImageError):
                verify_image(data[:length], thorough)

    @pytest.mark.parametrize("data", [png(IMAGE), jpeg()])
    def test_zeros_at_the_end(self, data: bytes, thorough: bool) -> None:
        """What an interrupted download leaves."""
        half = len(data) // 2
        with pytest.raises(BrokenImageError):
            verify_image(data[:half] + bytes(len(data) - half), thorough)

    def test_any_changed_byte_of_a_png(self, thorough: bool) -> None:
        data = png(IMAGE)
        for position in range(8, len(data), 53):
            changed = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
            with pytest.raises(BrokenImageError):
                verify_image(changed, thorough)

    def test_a_hole_in_a_jpeg(self, thorough: bool) -> None:
        data = jpeg()
        middle = len(data) * 2 // 3
        with pytest.raises(BrokenImageError):
            verify_image(data[:middle] + bytes(200) + data[middle + 200 :], thorough)


def test_a_plain_jpeg_is_not_taken_for_damaged() -> None:
    plain = np.zeros((512, 512), np.uint8)
    for options in ([], [cv2.IMWRITE_JPEG_OPTIMIZE, 1]):
        data = cv2.imencode(".jpg", plain, options)[1].tobytes()
        assert verify_image(data, thorough=False) == (512, 512)
