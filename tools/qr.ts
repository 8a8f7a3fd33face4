/** A payment URI as a QR code (ISO/IEC 18004) in a PNG of one bit a pixel, about 1 kB. */
import { encode } from 'fast-png'
import { encodeQR } from 'qr'

/** Large enough for a phone's camera on any screen. */
const PIXELS_PER_MODULE = 6
/** The quiet zone that the standard asks for, in modules. */
const BORDER = 4

export function qrPng(text: string): Uint8Array {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', border: BORDER, scale: PIXELS_PER_MODULE })
  const size = rows.length
  const bytesPerRow = Math.ceil(size / 8)
  const data = new Uint8Array(bytesPerRow * size)
  rows.forEach((row, y) => {
    row.forEach((dark, x) => {
      if (!dark) data[y * bytesPerRow + (x >> 3)]! |= 0x80 >> (x & 7)
    })
  })
  return encode({ width: size, height: size, data, channels: 1, depth: 1 }, { zlib: { level: 9 } })
}
