/** Paths as they are: folders that are made, files that are named by a URL. */
import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** For libSQL, which reads a query, a fragment and escapes in a `file:` URL: a path may have such characters. */
export function fileUrl(path: string): string {
  return `file:${escapePath(path)}`
}

/** The path in a `file:` URL. */
export function pathOf(url: string): string {
  return decodeURIComponent(url.replace(/^file:(\/\/(?=\/))?/, '').replace(/[?#].*$/, ''))
}

/** One name for a file that can be reached by several paths; of one that is not there, the path itself. */
export function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

export function escapePath(path: string): string {
  return path.replaceAll(/[%?#]/g, encodeURIComponent)
}

/**
 * Makes a folder for this user only, with those above it, where there is none. Node's own `recursive` never ends where a
 * file system says of a new folder that it does not exist (/proc, an automounter's).
 *
 * @throws what the file system says
 */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    // Some say of a folder that is there that they cannot be written.
    if (code !== 'ENOENT' && existsSync(path) && statSync(path).isDirectory()) return
    if (code !== 'ENOENT' || existsSync(dirname(path))) throw thrown
    makeFolder(dirname(path))
    makeFolder(path)
  }
}
