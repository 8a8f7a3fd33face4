/**
 * Where nothing listens, and nothing will while a test runs. The port of a server that was stopped is no such place: the
 * system may give it to the next one at once, of this test or of another (on Linux one of 7,000, drawn at random). This
 * one has no service of its own (IANA), is below those that are given, and is not among those that fetch refuses by itself.
 */
export const NOWHERE = 'http://127.0.0.1:4'
