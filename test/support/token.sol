// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// A test dollar with the surface of Circle's USDC: 6 decimals, EIP-2612 permit, EIP-3009 transfers.
/// Everything that is constant sits in the code, so that the code also works when it is placed at an address.
contract TestDollar {
    string public constant name = "USD Coin";
    string public constant symbol = "USDC";
    string public constant version = "2";
    uint8 public constant decimals = 6;

    bytes32 private constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant TRANSFER_WITH_AUTHORIZATION = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => uint256) public nonces;
    mapping(address => mapping(bytes32 => bool)) public authorizationState;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    /// Anyone may mint: it is a test.
    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        require(allowance[from][msg.sender] >= value, "allowance");
        allowance[from][msg.sender] -= value;
        move(from, to, value);
        return true;
    }

    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        require(block.timestamp <= deadline, "expired");
        check(owner, keccak256(abi.encode(PERMIT, owner, spender, value, nonces[owner]++, deadline)), v, r, s);
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        require(block.timestamp > validAfter && block.timestamp < validBefore, "time");
        require(!authorizationState[from][nonce], "used");
        bytes32 words =
            keccak256(abi.encode(TRANSFER_WITH_AUTHORIZATION, from, to, value, validAfter, validBefore, nonce));
        check(from, words, v, r, s);
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        move(from, to, value);
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }

    function move(address from, address to, uint256 value) private {
        require(balanceOf[from] >= value, "balance");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }

    function check(address signer, bytes32 words, uint8 v, bytes32 r, bytes32 s) private view {
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR(), words));
        require(signer != address(0) && ecrecover(digest, v, r, s) == signer, "signature");
    }
}

/// Pays many at once from its own funds, as exchanges and payroll contracts do, and can be told to fail.
contract Splitter {
    event Noise(uint256 number);

    receive() external payable {}

    function payTokens(TestDollar token, address[] calldata to, uint256[] calldata values) external {
        emit Noise(1);
        for (uint256 i = 0; i < to.length; i++) token.transfer(to[i], values[i]);
    }

    function fail() external payable {
        revert("refused");
    }
}

/// Speaks of a Transfer and means a collectible: the same event name and types, with the number indexed (ERC-721).
contract Collectible {
    uint8 public constant decimals = 0;

    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    function give(address to, uint256 id) external {
        emit Transfer(msg.sender, to, id);
    }
}

/// Passes coins on in the ways that contracts have, as wallets, exchanges and bridges do.
contract Passer {
    Helper private helper = new Helper();

    receive() external payable {}

    function pass(address payable to) external payable {
        send(to, msg.value);
    }

    /// Calls precompiled contracts first, as wallets that check signatures do.
    function passSigned(address payable to) external payable {
        bytes32 digest = sha256("signed");
        ecrecover(digest, 27, digest, digest);
        send(to, msg.value);
    }

    function passTwice(address payable to) external payable {
        send(to, msg.value / 4);
        send(to, msg.value - msg.value / 4);
    }

    function passDeep(address payable to) external payable {
        helper.forward{value: msg.value}(to);
    }

    /// The helper's code runs in this contract's name: the frame shows the value, and the call inside moves it.
    function passByDelegate(address payable to) external payable {
        (bool ok,) = address(helper).delegatecall(abi.encodeCall(Helper.forward, (to)));
        require(ok);
    }

    function passByDestruction(address payable to) external payable {
        new Bomb{value: msg.value}().explode(to);
    }

    /// The helper pays and then fails: the coins come back, and the transaction succeeds.
    function failInside(address payable to) external payable {
        try helper.forwardAndFail{value: msg.value}(to) {} catch {}
    }

    /// Frames that name the recipient and a value, and move nothing.
    function pretend(address payable to) external payable {
        (bool ok,) = to.delegatecall("");
        require(ok);
        assembly {
            pop(callcode(gas(), to, callvalue(), 0, 0, 0, 0))
            pop(staticcall(gas(), to, 0, 0, 0, 0))
            pop(call(gas(), to, 0, 0, 0, 0, 0))
        }
    }

    function failWhole(address payable to) external payable {
        send(to, msg.value);
        revert("refused");
    }

    function send(address payable to, uint256 value) private {
        (bool ok,) = to.call{value: value}("");
        require(ok);
    }
}

contract Helper {
    function forward(address payable to) external payable {
        (bool ok,) = to.call{value: msg.value}("");
        require(ok);
    }

    function forwardAndFail(address payable to) external payable {
        (bool ok,) = to.call{value: msg.value}("");
        require(ok);
        revert("refused");
    }
}

contract Bomb {
    constructor() payable {}

    function explode(address payable to) external {
        selfdestruct(to);
    }
}
