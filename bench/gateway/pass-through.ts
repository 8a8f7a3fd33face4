/** The least that a gateway can do: Node's own server, undici's client, bytes passed on and nothing looked at. */
import { serve, writeHead } from './plain.ts'

serve(async (ask, response) => {
  const answer = await ask()
  writeHead(response, answer)
  answer.body.pipe(response)
})
