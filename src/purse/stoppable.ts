/**
 * The end of a server that anybody on the machine can connect to: what has arrived is answered; whoever is silent, or in
 * the middle of a request, is cut off. Node itself would wait for them for ever, and with it the wallet's lock.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** @returns stops the server; resolves when its last connection has ended. Safe to repeat. */
export function stoppable(server: Server): () => Promise<void> {
  const connections = new Map<Socket, IncomingMessage | null>()
  let stopped: Promise<void> | undefined
  server.on('connection', (socket: Socket) => {
    connections.set(socket, null)
    socket.once('close', () => connections.delete(socket))
  })
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    connections.set(socket, response.req)
    response.once('close', () => {
      if (connections.has(socket)) connections.set(socket, null)
      if (stopped) socket.end()
    })
  })
  return () =>
    (stopped ??= new Promise((resolve) => {
      server.close(() => resolve())
      for (const [socket, request] of connections) if (!request?.complete) socket.destroy()
    }))
}
