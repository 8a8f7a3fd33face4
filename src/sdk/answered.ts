/** An answer of Node's kind whose end waits: to its handler and to whatever else holds it, it has been sent. */

type Callback = (error: Error) => void

/**
 * Lets nothing more be written, changed or ended, as after an end that did not wait: the first answer is the one that
 * counts. Returns what undoes it, with the status as it was.
 */
export function shutAnswer(response: { statusCode: number }): () => void {
  const { statusCode } = response
  const method = (value: unknown): PropertyDescriptor => ({ value, writable: true })
  const refuse = method(() => {
    throw tooLate('ERR_HTTP_HEADERS_SENT', 'Cannot change headers after an answer has been given.')
  })
  const ignore = (result: unknown): PropertyDescriptor =>
    method((...args: unknown[]) => {
      const callback = args.findLast((each): each is Callback => typeof each === 'function')
      const error = tooLate('ERR_STREAM_WRITE_AFTER_END', 'The answer has been given.')
      if (callback) queueMicrotask(() => callback(error))
      return result
    })
  const reopen = replace(response, {
    headersSent: { get: () => true },
    writableEnded: { get: () => true },
    setHeader: refuse,
    setHeaders: refuse,
    appendHeader: refuse,
    removeHeader: refuse,
    writeHead: refuse,
    write: ignore(false),
    end: ignore(response),
  })
  return () => {
    reopen()
    response.statusCode = statusCode
  }
}

/** Some may be its own already: whatever wraps answers puts them there. */
function replace(target: object, properties: Readonly<Record<string, PropertyDescriptor>>): () => void {
  const before = Object.keys(properties).map(
    (name) => [name, Object.getOwnPropertyDescriptor(target, name)] as const,
  )
  for (const [name, property] of Object.entries(properties)) {
    Object.defineProperty(target, name, { ...property, configurable: true })
  }
  return () => {
    for (const [name, own] of before) {
      if (own) Object.defineProperty(target, name, own)
      else Reflect.deleteProperty(target, name)
    }
  }
}

/** As Node names it. */
function tooLate(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
